//! What a deployment's status says, as a plain function.

const std = @import("std");

pub const Message = struct { key: []const u8, text: []const u8 };

const DeploymentStatus = struct {
    deployment_status: struct { state: []const u8, environment: []const u8 },
    repository: struct { full_name: []const u8 },
};

/// The message about a deployment that ended, or null while it goes on.
pub fn decide(arena: std.mem.Allocator, body: []const u8) !?Message {
    const options: std.json.ParseOptions = .{ .ignore_unknown_fields = true };
    const event = try std.json.parseFromSliceLeaky(DeploymentStatus, arena, body, options);
    const status = event.deployment_status;
    const ended = [_][]const u8{ "success", "failure", "error" };
    for (ended) |state| {
        if (!std.mem.eql(u8, status.state, state)) continue;
        const key = try std.fmt.allocPrint(arena, "{s}/{s}", .{ event.repository.full_name, status.environment });
        const text = try std.fmt.allocPrint(arena, "{s}: {s}", .{ key, status.state });
        return .{ .key = key, .text = text };
    }
    return null;
}

fn of_state(arena: *std.heap.ArenaAllocator, comptime state: []const u8) !?Message {
    return decide(arena.allocator(), "{\"deployment_status\":{\"state\":\"" ++ state ++
        "\",\"environment\":\"live\"},\"repository\":{\"full_name\":\"acme/river\"}}");
}

test "a deployment that ended is told" {
    var arena: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena.deinit();
    const message = (try of_state(&arena, "failure")).?;
    try std.testing.expectEqualStrings("acme/river/live: failure", message.text);
    try std.testing.expect(try of_state(&arena, "in_progress") == null);
}
