//! Small numbers that name things in one `Gateway`: indices into its tables.
//!
//! An id must never be kept across a reload: the next `Gateway` numbers anew.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// The id as an index.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id!(
    /// A route in `Gateway::routes`.
    RouteId
);
id!(
    /// An upstream in `Gateway::upstreams`.
    UpstreamId
);
id!(
    /// An endpoint in its upstream's list.
    EndpointId
);
id!(
    /// A listener in `Gateway::listeners`.
    ListenerId
);
id!(
    /// A worker: one thread on one core, counted from zero.
    WorkerId
);
