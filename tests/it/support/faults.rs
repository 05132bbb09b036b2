//! Origins that fail, and the next request behind each failure.

use crate::support::gateway::Gateway;
use crate::support::origin::{Origin, Request, Step, ok};

pub fn config(upstream: &str) -> String {
    format!(
        "workers = 1\n[upstream.app]\nendpoints = [\"@app@\"]\n{upstream}\n\n\
         [[route]]\nmatch = \"/{{*rest}}\"\nforward = \"app\"\ntimeout = \"60s\"\n"
    )
}

/// An origin that does `steps` for everything but `/fine`.
pub fn failing(steps: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static) -> Origin {
    Origin::script(move |request| match request.target.as_str() {
        "/fine" => vec![Step::Send(ok("fine"))],
        _ => steps(request),
    })
}

pub fn send(text: &str) -> Step {
    Step::Send(text.as_bytes().to_vec())
}

#[track_caller]
pub fn next_is_served(what: &str, gateway: &Gateway) {
    for _ in 0..2 {
        assert_eq!(gateway.get("/fine").expect(200).text(), "fine", "{what}: the next request");
    }
}
