//! The contract as Rust, generated from `wit/handler.wit`. Only `host_calls`, `instance`,
//! `describe` and `module` use it.

wasmtime::component::bindgen!({
    world: "handler",
    path: "../../wit",
    imports: {
        // Only these may wait for the store; the others are plain calls without a future.
        "weir:handler/state": async | trappable,
        "weir:handler/outbox.cancel": async | trappable,
        "weir:handler/outbox.cancel-ahead": async | trappable,
        default: trappable,
    },
    exports: { default: async },
});
