//! Detects JavaScript that was built without the prelude that `weir new` writes. Its engine was
//! started at build time, so that some of its functions do not work in a handler. Pure.

/// A text in each module that componentize-qjs built with QuickJS.
const QUICKJS: &[u8] = b"componentize-qjs:user.js";
/// A text in the prelude.
const PRELUDE: &[u8] = b"weir:javascript-prelude/";

const WARNING: &str = "this JavaScript is built without Weir's prelude: code after an `await` does \
    not run, although the event counts as processed, Math.random() is the same in every run, and \
    console is missing; build it with build.mjs and weir.js of `weir new --lang js`";

/// The warning about a module without the prelude, for its programmer.
pub(crate) fn build_warning(module: &[u8]) -> Option<&'static str> {
    (holds(module, QUICKJS) && !holds(module, PRELUDE)).then_some(WARNING)
}

fn holds(module: &[u8], text: &[u8]) -> bool {
    let (first, length) = (text[0], text.len());
    let mut rest = module;
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        if rest[at..].get(..length) == Some(text) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn javascript_without_the_prelude_is_detected() {
        assert_eq!(build_warning(b"\0asm wit-component"), None);
        assert_eq!(build_warning(b"ccomponentize-qjs:user.js weir:javascript-prelude/1"), None);
        assert!(build_warning(b"ccomponentize-qjs:user.js").unwrap().contains("await"));
        assert_eq!(build_warning(b"componentize-qjs:user.j"), None);
    }
}
