//! Sends a message for each deployment that ended, and lets a later one of the same environment
//! replace a message that is still queued. A command: JSON on stdin, effects on stdout.

const std = @import("std");
const rule = @import("rule.zig");

const exit_reject = 65;

const Input = struct {
    event: struct { type: []const u8 = "" } = .{},
    body: []const u8 = "",
    config: struct { destination: []const u8 = "inbox" } = .{},
};

pub fn main() !void {
    const arena = std.heap.wasm_allocator;
    const options: std.json.ParseOptions = .{ .ignore_unknown_fields = true };
    const input = try std.json.parseFromSliceLeaky(Input, arena, try stdin(arena), options);
    const message = rule.decide(arena, input.body) catch |wrong| {
        std.debug.print("the body is not that of a deployment: {t}\n", .{wrong});
        std.process.exit(exit_reject);
    } orelse return;
    const line = try std.fmt.allocPrint(arena, "{f}\n", .{std.json.fmt(.{
        .effect = "send",
        .destination = input.config.destination,
        .json = .{ .text = message.text },
        .key = message.key,
    }, .{})});
    try stdout(line);
}

fn stdout(line: []const u8) !void {
    var rest = line;
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
