//! The stack frames of a trapped guest, as readable names. Pure.

/// Frames in a reason.
const FRAMES_SHOWN: usize = 5;

/// Top frames that must be of one function, for an invalid memory access to count as an exhausted
/// stack: some languages keep their stack in linear memory and overrun it.
const FRAMES_OF_RECURSION: usize = 8;

/// Prefixes of runtime functions that process a panic: of Rust, C and C++, Go, Zig, Swift.
const RUNTIME_FUNCTIONS: [&str; 42] = [
    "std::panicking::",
    "core::panicking::",
    "panic_abort::",
    "panic_unwind::",
    "rust_panic",
    "__rust_",
    "__rustc",
    "rust_begin_unwind",
    "std::process::abort",
    "std::process::exit",
    "std::sys::",
    "std::alloc::",
    "alloc::alloc::handle_alloc_error",
    "alloc::raw_vec::handle_error",
    "alloc::raw_vec::capacity_overflow",
    "core::option::unwrap_failed",
    "core::option::expect_failed",
    "core::result::unwrap_failed",
    "core::slice::index::slice_",
    "core::str::slice_error_fail",
    "core::cell::panic_already",
    "<core::panic",
    "core::ops::function::FnOnce::call_once",
    "abort",
    "_abort",
    "raise",
    "_Exit",
    "exit",
    "__wasi_proc_exit",
    "__imported_wasi",
    "__assert_fail",
    "__cxa_",
    "std::terminate",
    "std::__terminate",
    "__throw_",
    "runtime.",
    "start.",
    "_start",
    "runtime._panic",
    "debug.defaultPanic",
    "builtin.default_panic",
    "swift_",
];

/// The demangled name of a function, for Rust and C++.
pub(crate) fn readable(name: &str) -> String {
    if let Ok(name) = rustc_demangle::try_demangle(name) {
        return format!("{name:#}");
    }
    let cpp = name.starts_with("_Z").then(|| cpp_demangle::Symbol::new(name).ok()).flatten();
    cpp.and_then(|symbol| symbol.demangle().ok()).unwrap_or_else(|| name.to_owned())
}

/// True if these frames are of endless recursion.
pub(crate) fn recursing(frames: &[String]) -> bool {
    frames.iter().any(|f| frames.iter().filter(|g| *g == f).count() >= FRAMES_OF_RECURSION)
}

fn is_machinery(name: &str) -> bool {
    RUNTIME_FUNCTIONS.iter().any(|head| name.starts_with(head))
}

/// The name of the top function outside of the runtime, if the module has names.
pub(crate) fn innermost(frames: &[String]) -> Option<&str> {
    let own = frames.iter().find(|name| !is_machinery(name))?;
    (!own.starts_with("function ")).then_some(own)
}

/// The top frames for people, without the runtime functions at the top.
pub(crate) fn shown(frames: &[String]) -> String {
    let skipped = frames.iter().take_while(|name| is_machinery(name)).count();
    // If all frames are of the runtime, all are shown.
    let own = if skipped == frames.len() { frames } else { &frames[skipped..] };
    if own.is_empty() {
        return "an unknown place".to_owned();
    }
    own.iter().take(FRAMES_SHOWN).map(String::as_str).collect::<Vec<_>>().join(" < ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| readable(name)).collect()
    }

    #[test]
    fn names_are_demangled() {
        for (name, wanted) in [
            ("_ZN4core9panicking9panic_fmt17h0123456789abcdefE", "core::panicking::panic_fmt"),
            ("_RNvCskwGfYPst2Cb_3foo16example_function", "foo::example_function"),
            ("_ZN6issues6handle17h0123456789abcdefE", "issues::handle"),
            ("_Z6handleRKSs", "handle(std::string const&)"),
            ("main.main", "main.main"),
            ("function 7", "function 7"),
        ] {
            assert_eq!(readable(name), wanted);
        }
    }

    #[test]
    fn runtime_functions_at_the_top_are_left_out() {
        let rust = frames(&[
            "_ZN3std9panicking20rust_panic_with_hook17h0123456789abcdefE",
            "rust_begin_unwind",
            "_ZN4core9panicking9panic_fmt17h0123456789abcdefE",
            "_ZN4core6option13unwrap_failed17h0123456789abcdefE",
            "_ZN6issues5title17h0123456789abcdefE",
            "_ZN6issues6handle17h0123456789abcdefE",
        ]);
        assert_eq!(shown(&rust), "issues::title < issues::handle");
        assert_eq!(shown(&frames(&["abort", "__assert_fail", "handle"])), "handle");
        assert_eq!(shown(&frames(&["abort"])), "abort", "there is nothing else to tell");
        assert_eq!(shown(&[]), "an unknown place");
    }

    #[test]
    fn repeated_function_is_recursion() {
        let frames: Vec<String> =
            (0..9).map(|n| if n == 4 { "other" } else { "walk" }.into()).collect();
        assert!(recursing(&frames) && !recursing(&frames[..7]));
    }
}
