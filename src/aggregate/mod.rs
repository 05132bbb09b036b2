//! One request, several answers, one document (CONFIG.md rules 4 and 5).
//!
//! A [`Plan`] is what a `merge` was compiled to; the conductor (`serve/fan_out.rs`) asks the parts, all at
//! once, and this room says what to ask ([`request`]), what an answer is worth ([`Part::judge`]), how the
//! failed ones are told ([`partial`]) and what the document is ([`mod@merge`]). It never performs I/O, never
//! waits, never decodes a part and never lets the order of arrival show: keys stand in plan order and the
//! bytes of a part are the origin's.

pub mod cache;
pub mod each;
pub mod embed;
pub mod fuzz;
pub mod json;
pub mod merge;
pub mod partial;
pub mod plan;
pub mod reference;
pub mod request;
pub mod select;
pub mod stream;
pub mod view;

pub use crate::aggregate::merge::{Members, Merged, merge};
pub use crate::aggregate::partial::PartFault;
pub use crate::aggregate::plan::{Part, PartOutcome, Pass, Plan, Taken};
pub use crate::aggregate::select::{Lists, SelectError, Selection};
pub use crate::aggregate::view::{OnPartial, View};
