//! What a command works with: the network, and where its words go.

use std::fmt;
use std::io::{BufRead, Write};

use futures::future::BoxFuture;
use trunkline_client::{Client, Options};
use trunkline_ports::{Network, Process};

use crate::args::Connection;
use crate::failure::Failure;

/// How the process should exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done, or nobody reads what would have been printed.
    Done,
    /// 1: it failed, in whole or in part.
    Failed,
    /// 2: the command line, or what it names, is wrong.
    Usage,
    /// 130: Ctrl-C, after what had to be finished.
    Interrupted,
}

impl Exit {
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Given by the binary; by tests with buffers.
pub struct Context {
    pub network: Network,
    pub process: Process,
    pub stdout: Box<dyn Write + Send>,
    pub stderr: Box<dyn Write + Send>,
    /// Taken by the command that reads it.
    pub stdin: Option<Box<dyn BufRead + Send>>,
    /// Standard error is a terminal: progress may be drawn there.
    pub interactive: bool,
    /// The git commit that the program was built from, or "unknown".
    pub commit: &'static str,
    /// Called by a command that has something to finish: from then on the first Ctrl-C resolves this instead of ending
    /// the process.
    pub interrupted: Box<dyn Fn() -> BoxFuture<'static, ()> + Send>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context")
    }
}

impl Context {
    /// A client of the cluster that the command line names.
    pub(crate) fn client(&self, connection: &Connection) -> Result<Client, Failure> {
        let client = Client::new(
            self.network.clone(),
            self.process.clone(),
            &connection.endpoints,
            Options::default(),
        );
        match &connection.datacenter {
            Some(datacenter) => Ok(client.only(datacenter)?),
            None => Ok(client),
        }
    }

    /// Tells people something that is not the result.
    pub(crate) fn note(&mut self, text: &str) {
        // Where standard error is closed there is nobody to tell.
        let _ = writeln!(self.stderr, "{text}");
    }

    pub(crate) fn finish(&mut self, done: Result<(), Failure>) -> Exit {
        let flushed = done.and_then(|()| self.stdout.flush().map_err(Failure::from));
        let (exit, told) = match flushed {
            Ok(()) | Err(Failure::Closed) => return Exit::Done,
            Err(Failure::Told) => return Exit::Failed,
            Err(Failure::Interrupted) => return Exit::Interrupted,
            Err(Failure::Usage(told)) => (Exit::Usage, told),
            Err(Failure::Failed(told)) => (Exit::Failed, told),
        };
        self.note(&format!("trunkline: {told}"));
        exit
    }
}

/// A context whose words go into buffers, on a simulated network.
#[cfg(test)]
pub(crate) mod testing {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use trunkline_testkit::{Random, SimulatedNetwork};

    use super::Context;

    #[derive(Clone, Debug, Default)]
    pub(crate) struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub(crate) fn text(buffer: &Buffer) -> String {
        String::from_utf8(buffer.0.lock().expect("not poisoned").clone()).expect("text")
    }

    /// A context and what it writes to standard output, on a network without servers.
    pub(crate) fn buffered() -> (Context, Buffer) {
        let (context, out, _) = on(&SimulatedNetwork::new(&Random::new(1)));
        (context, out)
    }

    /// A context, its standard output and its standard error.
    pub(crate) fn on(network: &SimulatedNetwork) -> (Context, Buffer, Buffer) {
        let process = network.process("cli", &"nyc".into());
        let (out, err) = (Buffer::default(), Buffer::default());
        let context = Context {
            network: network.network(&process),
            process: process.process(),
            stdout: Box::new(out.clone()),
            stderr: Box::new(err.clone()),
            stdin: None,
            interactive: false,
            commit: "unknown",
            interrupted: Box::new(|| Box::pin(std::future::pending())),
        };
        (context, out, err)
    }
}
