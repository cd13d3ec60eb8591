//! What the drivers in `examples` tell `cargo xtask conformance`.

use serde_json::json;

/// A run, by its name.
#[derive(Debug)]
pub struct Run(pub &'static str);

impl Run {
    /// One thing that was tried, against the real thing: a line of JSON on stdout.
    #[expect(clippy::print_stdout, reason = "a driver talks on stdout")]
    pub fn case(&self, id: &str, outcome: Result<(), String>) {
        let (result, why) = match outcome {
            Ok(()) => ("pass", String::new()),
            Err(why) => ("fail", why),
        };
        println!("{}", json!({ "id": format!("real:{}/{id}", self.0), "result": result, "why": why }));
    }
}
