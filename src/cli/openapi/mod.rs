//! OpenAPI, both ways: the gateway's own API as a document, and a service's document as configuration.
//!
//! Documents are OpenAPI 3 (3.0, 3.1 and 3.2 are read, 3.1 is written). It never sends or fetches anything,
//! and what `import` writes is checked as `ringway check` would before it is shown.

pub mod export;
pub mod import;
#[cfg(test)]
mod tests;
