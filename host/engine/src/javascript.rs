//! JavaScript whose engine was started when it was built: what of it works in a handler only with the prelude that
//! `examples/javascript/build.mjs` puts before it. Pure.

/// What a module has whose engine is QuickJS, put into a component by componentize-qjs.
const QUICKJS: &[u8] = b"componentize-qjs:user.js";
/// What the prelude has.
const PRELUDE: &[u8] = b"weir:javascript-prelude/";

/// What to tell of a module that has the one and not the other.
const ODDITY: &str = "this JavaScript is built without Weir's prelude: what follows an `await` does not run, though the \
    event counts as processed, Math.random() is the same in every run, and there is no console; build it with \
    examples/javascript/build.mjs";

/// What its programmer should know about a module.
pub(crate) fn build_warning(module: &[u8]) -> Option<&'static str> {
    (holds(module, QUICKJS) && !holds(module, PRELUDE)).then_some(ODDITY)
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
    fn javascript_without_the_prelude_is_known_by_its_engine() {
        assert_eq!(build_warning(b"\0asm wit-component"), None);
        assert_eq!(build_warning(b"ccomponentize-qjs:user.js weir:javascript-prelude/1"), None);
        assert!(build_warning(b"ccomponentize-qjs:user.js").unwrap().contains("await"));
        assert_eq!(build_warning(b"componentize-qjs:user.j"), None);
    }
}
