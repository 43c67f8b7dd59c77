//! Errors as text: one line with every cause.

use std::error::Error;

/// An error and all its causes, outermost first, joined by `: `. A cause that its parent repeats is
/// left out.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::chain;

    #[derive(Debug, Error)]
    enum Outer {
        #[error("open the store")]
        Context(#[source] Inner),
        #[error(transparent)]
        Transparent(#[from] Inner),
        #[error("disk is full")]
        Repeated(#[source] Inner),
    }

    #[derive(Debug, Error)]
    #[error("disk is full")]
    struct Inner;

    #[test]
    fn every_cause_is_said_once() {
        assert_eq!(chain(&Outer::Context(Inner)), "open the store: disk is full");
        assert_eq!(chain(&Outer::Transparent(Inner)), "disk is full");
        assert_eq!(chain(&Outer::Repeated(Inner)), "disk is full");
    }
}
