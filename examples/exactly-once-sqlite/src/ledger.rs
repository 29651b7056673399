//! Balances, and how far they are, in one database.

use anyhow::Context as _;
use rusqlite::{Connection, OptionalExtension as _, params};
use trunkline_client::api::{ReadResponse, ReceivedMessage};

pub(crate) struct Ledger {
    database: Connection,
}

/// Where to read on.
pub(crate) struct Place {
    /// 0: nothing was read yet.
    pub(crate) topic_id: u64,
    pub(crate) next: u64,
}

impl Ledger {
    pub(crate) fn open(file: &str) -> anyhow::Result<Self> {
        let database = Connection::open(file)?;
        database.execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             CREATE TABLE IF NOT EXISTS balances (account TEXT PRIMARY KEY, amount INTEGER NOT NULL);
             CREATE TABLE IF NOT EXISTS places (topic TEXT PRIMARY KEY, topic_id INTEGER NOT NULL, next INTEGER NOT NULL);",
        )?;
        Ok(Self { database })
    }

    pub(crate) fn place(&self, topic: &str) -> anyhow::Result<Place> {
        let query = "SELECT topic_id, next FROM places WHERE topic = ?1";
        let row =
            |row: &rusqlite::Row<'_>| -> rusqlite::Result<(i64, i64)> { Ok((row.get(0)?, row.get(1)?)) };
        match self.database.query_row(query, [topic], row).optional()? {
            Some((topic_id, next)) => {
                Ok(Place { topic_id: topic_id.cast_unsigned(), next: next.cast_unsigned() })
            }
            None => Ok(Place { topic_id: 0, next: 1 }),
        }
    }

    /// All of a page and the place after it, or nothing.
    pub(crate) fn apply(&mut self, topic: &str, page: &ReadResponse) -> anyhow::Result<()> {
        let transaction = self.database.transaction()?;
        for received in &page.messages {
            let (account, amount) = payment(received)?;
            transaction.execute(
                "INSERT INTO balances VALUES (?1, ?2) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount",
                params![account, amount],
            )?;
        }
        transaction.execute(
            "INSERT INTO places VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET topic_id = ?2, next = ?3",
            params![topic, page.topic_id.cast_signed(), page.next.cast_signed()],
        )?;
        Ok(transaction.commit()?)
    }
}

fn payment(received: &ReceivedMessage) -> anyhow::Result<(&str, i64)> {
    let message = received.message.as_ref().context("a message without content")?;
    let amount = std::str::from_utf8(&message.payload).ok().and_then(|text| text.trim().parse().ok());
    let amount = amount.with_context(|| format!("message {} is no amount", received.message_id))?;
    Ok((&message.key, amount))
}
