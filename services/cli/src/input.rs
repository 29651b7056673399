//! Standard input, line by line, without stopping everything else.

use std::io::{self, BufRead};

use tokio::sync::mpsc;

/// Lines that are read ahead.
const AHEAD_MAX: usize = 256;

/// Reads lines, without their ends, in a thread: reading from a terminal or pipe blocks.
#[allow(clippy::disallowed_methods, reason = "reading standard input blocks; this is its adapter")]
pub(crate) fn lines(mut input: Box<dyn BufRead + Send>) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (lines, read) = mpsc::channel(AHEAD_MAX);
    std::thread::spawn(move || {
        loop {
            let line = match next(&mut input) {
                Ok(None) => return,
                Ok(Some(line)) => Ok(line),
                Err(error) => Err(error),
            };
            let failed = line.is_err();
            if lines.blocking_send(line).is_err() || failed {
                return;
            }
        }
    });
    read
}

fn next(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if input.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    // A carriage return is the sender's own: what is pushed is popped, byte for byte.
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_newline_ends_a_line() {
        let mut lines = lines(Box::new(io::Cursor::new(b"one\r\n\ntwo \xff\nlast".to_vec())));
        let mut all = Vec::new();
        while let Some(line) = lines.recv().await {
            all.push(line.expect("read"));
        }
        assert_eq!(all, [&b"one\r"[..], b"", b"two \xff", b"last"]);
    }
}
