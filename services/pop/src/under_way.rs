//! Something that a worker waits for beside its calls.

use futures::future::BoxFuture;
use tokio::time::Instant;

/// With the number that its result is to be told with.
pub(crate) struct UnderWay<T> {
    pub(crate) number: u64,
    pub(crate) began: Instant,
    pub(crate) future: BoxFuture<'static, T>,
}

impl<T> UnderWay<T> {
    pub(crate) fn new(number: u64, future: impl Future<Output = T> + Send + 'static) -> Self {
        Self { number, began: Instant::now(), future: Box::pin(future) }
    }
}

/// The result of what is under way, once; never, while nothing is. Cancel safe.
pub(crate) async fn finished<T>(slot: &mut Option<UnderWay<T>>) -> (UnderWay<T>, T) {
    let Some(under_way) = slot else { return std::future::pending().await };
    let result = std::future::poll_fn(|context| under_way.future.as_mut().poll(context)).await;
    let under_way = slot.take().expect("it has just ended");
    (under_way, result)
}
