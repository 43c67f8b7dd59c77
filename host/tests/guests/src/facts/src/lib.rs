//! Calls the functions that came with contract 0.1.1, and tells `sink` what they return.

wit_bindgen::generate!({ world: "handler", path: "../../../../../wit" });

use weir::handler::{manifest, outbox, request};

struct Facts;

impl Guest for Facts {
    fn describe() {
        manifest::about("Tells sink the method, query and path of the request.");
        manifest::subscribe("*:*");
        manifest::state_version(3);
        manifest::needs_destination("sink");
        manifest::needs_destination("ledger");
    }

    fn handle(_: Event) -> Result<(), Failure> {
        // Of such text, Rust's form is JSON.
        let [method, query, path_rest] =
            [request::method(), request::query(), request::path_rest()].map(|text| format!("{text:?}"));
        let message = format!(r#"{{"method":{method},"query":{query},"path_rest":{path_rest}}}"#);
        outbox::send_json("sink", &message)?;
        Ok(())
    }
}

export!(Facts);
