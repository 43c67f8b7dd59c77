//! Never returns from `describe`.

wit_bindgen::generate!({ world: "handler", path: "../../../../../wit" });

use std::hint::black_box;
use weir::handler::manifest;

struct DescribeLoops;

impl Guest for DescribeLoops {
    fn describe() {
        manifest::subscribe("*:*");
        loop {
            black_box(());
        }
    }

    fn handle(_event: Event) -> Result<(), Failure> {
        Ok(())
    }
}

export!(DescribeLoops);
