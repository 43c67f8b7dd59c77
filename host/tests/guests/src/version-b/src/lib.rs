//! Says which version handled the event. `version-a` and `version-b` differ in one constant only.

wit_bindgen::generate!({ world: "handler", path: "../../../../../wit" });

use weir::handler::{manifest, outbox};

const VERSION: &str = "b";

struct Version;

impl Guest for Version {
    fn describe() {
        manifest::about("Tells sink which version handled the event.");
        manifest::subscribe("*:*");
    }

    fn handle(event: Event) -> Result<(), Failure> {
        // An id is letters, digits and `_`: nothing to escape.
        let message = format!(r#"{{"version":"{VERSION}","event":"{}"}}"#, event.id);
        outbox::send_json("sink", &message)?;
        Ok(())
    }
}

export!(Version);
