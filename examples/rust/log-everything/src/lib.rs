//! Writes a log line for each event of any source.

wit_bindgen::generate!({ world: "handler", path: "../../../wit" });

use weir::handler::{log, manifest, request};

struct LogEverything;

impl Guest for LogEverything {
    fn describe() {
        manifest::about("Writes a line in the log for every event.");
        manifest::subscribe("*:*");
    }

    fn handle(event: Event) -> Result<(), Failure> {
        std::panic::set_hook(Box::new(|panic| log::error(&panic.to_string())));

        let size = request::bytes().len();
        log::info(&format!("{} {} {size} bytes", event.source, event.type_));
        Ok(())
    }
}

export!(LogEverything);
