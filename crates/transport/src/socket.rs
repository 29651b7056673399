//! What carries a connection's bytes: TCP sockets, or what a simulation puts in their place.

use std::fmt;
use std::io;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// One connection's bytes, in order, both ways.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Socket for S {}

/// Makes connections. May take for ever: whoever asks has a deadline.
pub trait Dial: fmt::Debug + Send + Sync + 'static {
    fn dial(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Socket>>>;
}

/// Takes connections.
pub trait Accept: Send + 'static {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Box<dyn Socket>>>;
}
