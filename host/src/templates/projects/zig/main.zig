//! The handler: sends a message for each issue that is opened on GitHub. What it decides is in
//! `rule.zig`.
//!
//! It is a command: it reads one JSON document on stdin and prints each effect as a line of JSON.
//! Stderr is the log, and the exit code is the outcome.

const std = @import("std");
const rule = @import("rule.zig");

const exit_reject = 65; // it will never succeed
const exit_retry = 75; // it may succeed later

const Input = struct {
    body: []const u8 = "",
    config: struct { destination: []const u8 = "inbox", paused: []const u8 = "" } = .{},
};

pub fn main() !void {
    const arena = std.heap.wasm_allocator;
    const input = try std.json.parseFromSliceLeaky(
        Input,
        arena,
        try stdin(arena),
        .{ .ignore_unknown_fields = true },
    );
    if (std.mem.eql(u8, input.config.paused, "true")) fail(exit_retry, "paused in [config]");

    const issue = switch (try rule.decide(arena, input.body)) {
        .reject => |reason| fail(exit_reject, reason),
        .skip => return,
        .send => |issue| issue,
    };
    std.debug.print("an issue of {s}\n", .{issue.repository});

    const key = try std.fmt.allocPrint(arena, "opened/{s}", .{issue.repository});
    try effect(arena, .{ .effect = "state.add", .key = key, .delta = 1 });
    try send(arena, input.config.destination, issue.text);
    if (issue.urgent) {
        const text = try std.fmt.allocPrint(arena, "{s} has an urgent issue", .{issue.repository});
        try send(arena, input.config.destination, text);
    }
}

fn send(arena: std.mem.Allocator, destination: []const u8, text: []const u8) !void {
    try effect(arena, .{ .effect = "send", .destination = destination, .json = .{ .text = text } });
}

/// Prints an effect as a line of JSON.
fn effect(arena: std.mem.Allocator, value: anytype) !void {
    const line = try std.fmt.allocPrint(arena, "{f}\n", .{std.json.fmt(value, .{})});
    var rest: []const u8 = line;
    while (rest.len > 0) {
        const parts = [1]std.os.wasi.ciovec_t{.{ .base = rest.ptr, .len = rest.len }};
        var written: usize = 0;
        if (std.os.wasi.fd_write(1, &parts, 1, &written) != .SUCCESS) return error.Stdout;
        rest = rest[written..];
    }
}

fn stdin(arena: std.mem.Allocator) ![]u8 {
    var all: std.ArrayList(u8) = .empty;
    while (true) {
        try all.ensureUnusedCapacity(arena, 64 * 1024);
        const room = all.unusedCapacitySlice();
        const parts = [1]std.os.wasi.iovec_t{.{ .base = room.ptr, .len = room.len }};
        var read: usize = 0;
        if (std.os.wasi.fd_read(0, &parts, 1, &read) != .SUCCESS) return error.Stdin;
        if (read == 0) return all.items;
        all.items.len += read;
    }
}

/// Ends the run. The last line on stderr is the reason.
fn fail(code: u8, reason: []const u8) noreturn {
    std.debug.print("{s}\n", .{reason});
    std.process.exit(code);
}
