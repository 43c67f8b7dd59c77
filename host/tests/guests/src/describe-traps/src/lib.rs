//! Traps in `describe`, after a log line and a subscription: neither may have an effect.

wit_bindgen::generate!({ world: "handler", path: "../../../../../wit" });

use weir::handler::{log, manifest};

struct DescribeTraps;

impl Guest for DescribeTraps {
    fn describe() {
        std::panic::set_hook(Box::new(|panic| log::error(&panic.to_string())));
        manifest::subscribe("*:*");
        panic!("describe gives up");
    }

    fn handle(_event: Event) -> Result<(), Failure> {
        Ok(())
    }
}

export!(DescribeTraps);
