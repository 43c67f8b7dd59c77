//! A WASI command that follows the event's body: it prints lines, exits, or loops.
//!
//! The body is `{"stdout": [LINE, ...], "stderr": [LINE, ...], "exit": CODE, "loop": true}`, each
//! part optional and applied in this order. With any other body, it sends the document from stdin
//! unchanged to `sink`.

const std = @import("std");
const wasi = std.os.wasi;

const Script = struct {
    stdout: []const []const u8 = &.{},
    stderr: []const []const u8 = &.{},
    exit: u32 = 0,
    loop: bool = false,
};

const Input = struct { body: []const u8 = "" };

pub fn main() void {
    const gpa = std.heap.wasm_allocator;
    const document = read(gpa);
    const input = std.json.parseFromSliceLeaky(Input, gpa, document, .{ .ignore_unknown_fields = true }) catch
        return fail("stdin is not the document that was promised");
    const script = std.json.parseFromSliceLeaky(Script, gpa, input.body, .{}) catch {
        write(1, "{\"effect\":\"send\",\"destination\":\"sink\",\"json\":");
        write(1, document);
        return write(1, "}\n");
    };

    for (script.stdout) |line| print(1, line);
    for (script.stderr) |line| print(2, line);
    while (script.loop) std.mem.doNotOptimizeAway(script.loop);
    wasi.proc_exit(script.exit);
}

fn print(fd: wasi.fd_t, line: []const u8) void {
    write(fd, line);
    write(fd, "\n");
}

fn fail(why: []const u8) void {
    print(2, why);
    wasi.proc_exit(70);
}

fn read(gpa: std.mem.Allocator) []u8 {
    var all: std.ArrayList(u8) = .empty;
    var chunk: [4096]u8 = undefined;
    while (true) {
        var into = [_]wasi.iovec_t{.{ .base = &chunk, .len = chunk.len }};
        var got: usize = 0;
        if (wasi.fd_read(0, &into, 1, &got) != .SUCCESS or got == 0) break;
        all.appendSlice(gpa, chunk[0..got]) catch @panic("out of memory");
    }
    // The document becomes a part of one line.
    return @constCast(std.mem.trim(u8, all.items, " \r\n"));
}

fn write(fd: wasi.fd_t, bytes: []const u8) void {
    var rest = bytes;
    while (rest.len > 0) {
        var from = [_]wasi.ciovec_t{.{ .base = rest.ptr, .len = rest.len }};
        var put: usize = 0;
        if (wasi.fd_write(fd, &from, 1, &put) != .SUCCESS) wasi.proc_exit(74);
        rest = rest[put..];
    }
}
