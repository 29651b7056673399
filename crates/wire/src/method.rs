//! A method's path together with what goes in and out, so that a caller and a handler cannot disagree.

use std::fmt;
use std::marker::PhantomData;

macro_rules! method {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name<Q, A> {
            path: &'static str,
            types: PhantomData<fn(Q) -> A>,
        }

        impl<Q, A> $name<Q, A> {
            pub const fn new(path: &'static str) -> Self {
                Self { path, types: PhantomData }
            }

            /// `/package.Service/Method`, as in the HTTP/2 request.
            pub const fn path(&self) -> &'static str {
                self.path
            }
        }

        impl<Q, A> Clone for $name<Q, A> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<Q, A> Copy for $name<Q, A> {}

        impl<Q, A> fmt::Debug for $name<Q, A> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.path)
            }
        }
    };
}

method! {
    /// One request, one response.
    Unary
}
method! {
    /// A stream in at least one direction. Where only one side streams, the other sends one message and ends.
    Streaming
}
