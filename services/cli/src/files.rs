//! Large payloads from files and into files, chunk by chunk.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use trunkline_client::api::ReceivedMessage;
use trunkline_client::{Client, PayloadSource};

use crate::failure::Failure;

/// A file as it is when it is opened; one that shrinks meanwhile cannot be read.
pub(crate) struct FileSource {
    file: Arc<File>,
    bytes: u64,
}

impl FileSource {
    /// `None`: no regular file, or one small enough to be read at once.
    pub(crate) fn open(path: &Path, above: u64) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let large = metadata.is_file() && metadata.len() > above;
        Ok(large.then(|| Self { file: Arc::new(file), bytes: metadata.len() }))
    }
}

impl PayloadSource for FileSource {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(&self, at: u64, length: usize) -> BoxFuture<'static, io::Result<Bytes>> {
        let mut bytes = vec![0; length];
        let read = self.file.read_exact_at(&mut bytes, at);
        ready(read.map(|()| Bytes::from(bytes))).boxed()
    }
}

/// Writes a message's payload to a file, which is there only once all of it is.
pub(crate) async fn save(
    client: &Client,
    topic: &str,
    received: &ReceivedMessage,
    path: &Path,
) -> Result<u64, Failure> {
    if received.large.is_some() {
        return fetch(client, topic, received.message_id, path).await;
    }
    let payload = received.message.as_ref().map(|message| message.payload.clone()).unwrap_or_default();
    let told = |error| told(path, &error);
    let (part, mut file) = part_of(path).map_err(told)?;
    file.write_all(&payload).and_then(|()| std::fs::rename(&part, path)).map_err(told)?;
    Ok(payload.len() as u64)
}

/// The same of a payload that came as a reference.
pub(crate) async fn fetch(client: &Client, topic: &str, id: u64, path: &Path) -> Result<u64, Failure> {
    let told = |error| told(path, &error);
    let (part, mut file) = part_of(path).map_err(told)?;
    let fetching = async {
        let (mut fetch, mut bytes) = (client.fetch(topic, id), 0);
        while let Some(chunk) = fetch.next().await? {
            file.write_all(&chunk).map_err(told)?;
            bytes += chunk.len() as u64;
        }
        std::fs::rename(&part, path).map_err(told)?;
        Ok(bytes)
    };
    fetching.await.inspect_err(|_: &Failure| {
        // What was begun is of no use; whoever cannot remove it sees it.
        let _ = std::fs::remove_file(&part);
    })
}

fn part_of(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let file = File::create(&part)?;
    Ok((part, file))
}

fn told(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("{}: {error}", path.display()))
}
