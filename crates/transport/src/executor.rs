//! hyper's tasks are the node's tasks: they end with its process.

use std::future::Future;

use hyper::rt::Executor;
use trunkline_ports::Process;

#[derive(Clone, Debug)]
pub(crate) struct ProcessExecutor(pub(crate) Process);

impl<F> Executor<F> for ProcessExecutor
where
    F: Future + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn("http2", async move {
            task.await;
        });
    }
}
