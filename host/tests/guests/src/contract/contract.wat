;; Calls `state.get-bytes`, a function that the contract does not have, in the version that replaces VERSION.
(module
  (import "weir:handler/state@VERSION" "get-bytes" (func $get-bytes (param i32 i32 i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (i32.const 1024))
  (func (export "describe"))
  (func (export "handle")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i32) (result i32)
    (call $get-bytes (i32.const 0) (i32.const 1) (i32.const 32))
    (i32.const 16))
)
