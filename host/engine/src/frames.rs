//! The functions in which a guest trapped, as its programmer knows them. Pure.

/// Frames named in a reason.
const FRAMES_TOLD: usize = 5;

/// How often one function must be among the top frames for a bad memory access to count as an exhausted stack:
/// languages that keep their own stack in linear memory run off its end there.
const FRAMES_OF_RECURSION: usize = 8;

/// What names of functions begin with that only carry a panic out, by language: Rust, C and C++, Go, Zig, Swift.
const MACHINERY: [&str; 40] = [
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
    "runtime._panic",
    "debug.defaultPanic",
    "builtin.default_panic",
    "swift_",
];

/// A function's name as its source has it, where it is one of Rust's or C++'s mangled ones.
pub(crate) fn readable(name: &str) -> String {
    if let Ok(name) = rustc_demangle::try_demangle(name) {
        return format!("{name:#}");
    }
    let cpp = name.starts_with("_Z").then(|| cpp_demangle::Symbol::new(name).ok()).flatten();
    cpp.and_then(|symbol| symbol.demangle().ok()).unwrap_or_else(|| name.to_owned())
}

/// Whether these frames are of a function that calls itself without end.
pub(crate) fn recursing(frames: &[String]) -> bool {
    frames.iter().any(|f| frames.iter().filter(|g| *g == f).count() >= FRAMES_OF_RECURSION)
}

/// The top frames for people, without those at the very top that only carry a panic out.
pub(crate) fn told(frames: &[String]) -> String {
    let is_machinery = |name: &String| MACHINERY.iter().any(|head| name.starts_with(head));
    let skipped = frames.iter().take_while(|name| is_machinery(name)).count();
    // Of nothing but machinery all is told.
    let own = if skipped == frames.len() { frames } else { &frames[skipped..] };
    if own.is_empty() {
        return "an unknown place".to_owned();
    }
    own.iter().take(FRAMES_TOLD).map(String::as_str).collect::<Vec<_>>().join(" < ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| readable(name)).collect()
    }

    #[test]
    fn names_are_read_as_their_source_has_them() {
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
    fn what_only_carries_a_panic_out_is_not_told() {
        let rust = frames(&[
            "_ZN3std9panicking20rust_panic_with_hook17h0123456789abcdefE",
            "rust_begin_unwind",
            "_ZN4core9panicking9panic_fmt17h0123456789abcdefE",
            "_ZN4core6option13unwrap_failed17h0123456789abcdefE",
            "_ZN6issues5title17h0123456789abcdefE",
            "_ZN6issues6handle17h0123456789abcdefE",
        ]);
        assert_eq!(told(&rust), "issues::title < issues::handle");
        assert_eq!(told(&frames(&["abort", "__assert_fail", "handle"])), "handle");
        assert_eq!(told(&frames(&["abort"])), "abort", "there is nothing else to tell");
        assert_eq!(told(&[]), "an unknown place");
    }

    #[test]
    fn the_same_function_over_and_over_is_recursion() {
        let frames: Vec<String> =
            (0..9).map(|n| if n == 4 { "other" } else { "walk" }.into()).collect();
        assert!(recursing(&frames) && !recursing(&frames[..7]));
    }
}
