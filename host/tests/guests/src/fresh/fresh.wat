;; Rejects the event if its instance has data of an earlier run: a global, a static, a distant byte of memory, the
;; size of memory, a table slot, a dropped segment. Before it answers ok it changes all of them, so that an instance
;; that is used twice is detected at the second event.
;;
;; WebAssembly text, because compilers give no access to globals and table slots. This is the core module;
;; `.ci/guests languages` makes a component of it.
(module
  (import "weir:handler/manifest@0.1.1" "subscribe" (func $subscribe (param i32 i32)))

  ;; 2 MiB, of which the last byte is $far.
  (memory (export "memory") 32)
  (global $far i32 (i32.const 0x1fffff))
  (global $count (mut i32) (i32.const 7))
  (table $slots 2 funcref)
  (elem declare func $describe)

  ;; The result of `handle`: 0 for ok; or 1, the case of the failure (1 is reject), and the reason's address and length.
  (global $result i32 (i32.const 16))
  (data (i32.const 64) "*:*")
  (data (i32.const 128) "global  ")
  (data (i32.const 136) "static  ")
  (data (i32.const 144) "far byte")
  (data (i32.const 152) "size    ")
  (data (i32.const 160) "slot    ")
  (data (i32.const 168) "segment ")
  (global $static i32 (i32.const 256))
  (data (i32.const 256) "\09")
  (data $segment "s")

  ;; Arguments are written from 64 KiB up and never freed: there is one run.
  (global $next (mut i32) (i32.const 0x10000))
  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (global.set $next
      (i32.and
        (i32.sub (i32.add (global.get $next) (local.get $align)) (i32.const 1))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.get $next)
    (global.set $next (i32.add (global.get $next) (local.get $size))))

  (func $describe (export "describe")
    (call $subscribe (i32.const 64) (i32.const 3)))

  ;; If $stale, makes the result a reject with the eight bytes at $reason. The last call with $stale counts.
  (func $check (param $stale i32) (param $reason i32)
    (if (local.get $stale)
      (then
        (i32.store8 (global.get $result) (i32.const 1))
        (i32.store8 offset=4 (global.get $result) (i32.const 1))
        (i32.store offset=8 (global.get $result) (local.get $reason))
        (i32.store offset=12 (global.get $result) (i32.const 8)))))

  ;; The event's fields, flattened; none is read.
  (func (export "handle")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i32) (result i32)
    (i32.store8 (global.get $result) (i32.const 0))

    (call $check (i32.ne (global.get $count) (i32.const 7)) (i32.const 128))
    (global.set $count (i32.const 8))

    (call $check (i32.ne (i32.load8_u (global.get $static)) (i32.const 9)) (i32.const 136))
    (i32.store8 (global.get $static) (i32.const 10))

    (call $check (i32.load8_u (global.get $far)) (i32.const 144))
    (i32.store8 (global.get $far) (i32.const 1))

    (call $check (i32.ne (memory.size) (i32.const 32)) (i32.const 152))
    (drop (memory.grow (i32.const 1)))

    (call $check (i32.eqz (ref.is_null (table.get $slots (i32.const 1)))) (i32.const 160))
    (table.set $slots (i32.const 1) (ref.func $describe))

    ;; Copying from a dropped segment traps, so an earlier finding is returned first.
    (if (i32.load8_u (global.get $result)) (then (return (global.get $result))))
    (memory.init $segment (i32.const 512) (i32.const 0) (i32.const 1))
    (call $check (i32.ne (i32.load8_u (i32.const 512)) (i32.const 0x73)) (i32.const 168))
    (data.drop $segment)

    (global.get $result))
)
