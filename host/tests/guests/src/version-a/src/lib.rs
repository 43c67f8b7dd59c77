//! Sends the version that handled the event. `version-a` and `version-b` differ only in one
//! constant.

wit_bindgen::generate!({ world: "handler", path: "../../../../../wit" });

use weir::handler::{manifest, outbox};

const VERSION: &str = "a";

struct Version;

impl Guest for Version {
    fn describe() {
        manifest::about("Tells sink which version handled the event.");
        manifest::subscribe("*:*");
    }

    fn handle(event: Event) -> Result<(), Failure> {
        // An id has only letters, digits and `_`, so it needs no escape.
        let message = format!(r#"{{"version":"{VERSION}","event":"{}"}}"#, event.id);
        outbox::send_json("sink", &message)?;
        Ok(())
    }
}

export!(Version);
