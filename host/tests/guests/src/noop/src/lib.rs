//! Does nothing with an event: a benchmark measures the cost of the run itself.

wit_bindgen::generate!({ world: "handler", path: "../../../../../wit" });

use weir::handler::manifest;

struct Noop;

impl Guest for Noop {
    fn describe() {
        manifest::subscribe("bench:*");
        manifest::subscribe("github:*");
    }

    fn handle(_event: Event) -> Result<(), Failure> {
        Ok(())
    }
}

export!(Noop);
