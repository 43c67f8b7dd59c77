//! The decision about an event, as a plain function: `zig test rule.zig` runs it without a hub.

const std = @import("std");

pub const Decision = union(enum) {
    send: struct { repository: []const u8, text: []const u8, urgent: bool },
    skip,
    reject: []const u8,
};

/// The fields of GitHub's event `issues` that matter here.
const IssuesEvent = struct {
    action: []const u8 = "",
    issue: ?struct {
        title: []const u8,
        html_url: []const u8,
        labels: []const struct { name: []const u8 } = &.{},
    } = null,
    repository: struct { full_name: []const u8 } = .{ .full_name = "unknown" },
};

/// Decides by the body of an event of the type `issues`.
pub fn decide(arena: std.mem.Allocator, body: []const u8) !Decision {
    const options: std.json.ParseOptions = .{ .ignore_unknown_fields = true };
    const event = std.json.parseFromSliceLeaky(IssuesEvent, arena, body, options) catch
        return .{ .reject = "the body is not JSON of an issue" };
    const issue = event.issue orelse return .{ .reject = "the body has no issue" };
    if (!std.mem.eql(u8, event.action, "opened")) return .skip;

    const repository = event.repository.full_name;
    var urgent = false;
    for (issue.labels) |label| urgent = urgent or std.mem.eql(u8, label.name, "urgent");
    const text = try std.fmt.allocPrint(arena, "{s}: {s} {s}", .{ repository, issue.title, issue.html_url });
    return .{ .send = .{ .repository = repository, .text = text, .urgent = urgent } };
}

fn decided(arena: *std.heap.ArenaAllocator, body: []const u8) !Decision {
    return decide(arena.allocator(), body);
}

test "a new issue is sent" {
    var arena: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena.deinit();
    const decision = try decided(&arena, @embedFile("samples/opened.json"));
    try std.testing.expectEqualStrings("acme/river", decision.send.repository);
    try std.testing.expectEqualStrings(
        "acme/river: The gate does not open https://github.com/acme/river/issues/7",
        decision.send.text,
    );
    try std.testing.expect(!decision.send.urgent);
}

test "an urgent issue is marked" {
    var arena: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena.deinit();
    const decision = try decided(&arena, @embedFile("samples/urgent.json"));
    try std.testing.expect(decision.send.urgent);
}

test "a closed issue is skipped" {
    var arena: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena.deinit();
    try std.testing.expectEqual(.skip, try decided(&arena, @embedFile("samples/closed.json")));
}

test "a body without an issue is rejected" {
    var arena: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena.deinit();
    try std.testing.expectEqualStrings("the body has no issue", (try decided(&arena, "{}")).reject);
    try std.testing.expect(try decided(&arena, "no JSON") == .reject);
}
