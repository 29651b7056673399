//! What a restart finds on disk. Records are not read: of each open log only what its last write had.

use std::collections::BTreeMap;

use bytes::Bytes;
use trunkline_ordering::store::{Boots, Catalog, Effect, LogNo};
use trunkline_ports::{Batch, ScanLimit, Space, Storage, StorageError};
use trunkline_types::{Boot, Lane, NodeId};

use crate::error::StartError;
use crate::keys::{self, LogRow, Meta, PayloadNo, TopicRow};
use crate::layout::Layout;
use crate::payloads;

const ROWS: ScanLimit = ScanLimit::rows(4_096);

/// What a store begins with.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// As of the last write.
    pub(crate) catalog: Catalog,
    /// The newest boot seen of each other store.
    pub(crate) boots: Boots,
    /// What is to be read further.
    pub(crate) effects: Vec<Effect>,
    /// Groups whose index was being copied, from stores whose facts reach up to there: half of a copy may be on disk,
    /// so it is copied again.
    pub(crate) copying: BTreeMap<u16, u64>,
    pub(crate) undecided: Undecided,
}

/// Payloads of records that are on disk and may lie beyond their log's end.
pub(crate) type Undecided = BTreeMap<(LogNo, u64), PayloadNo>;

pub(crate) async fn recover(
    storage: &dyn Storage,
    layout: &Layout,
    me: NodeId,
    boot: Boot,
) -> Result<Recovered, StartError> {
    check_format(storage).await?;
    let (mut copying, mut boots, mut begun) = (BTreeMap::new(), Boots::default(), Batch::new());
    let mut catalog = Catalog::new(layout.held.clone(), layout.map.ordering_groups);
    recover_logs(storage, &mut catalog, me, boot).await?;
    let mut rows = Rows::new(keys::META);
    while let Some((key, value)) = rows.next(storage).await? {
        match keys::meta(&key, &value) {
            Some(Meta::Facts { group, index }) => catalog.recover_group(group, index),
            Some(Meta::Number { group, number, log }) => catalog.recover_number(group, number, log),
            Some(Meta::Boot { group, node, counter }) => catalog.recover_boot(group, node, counter),
            Some(Meta::Seen { node, boot }) => boots.saw(node, boot),
            Some(Meta::Begun(payload)) => payloads::drop_begun(&mut begun, payload),
            Some(Meta::Copying { group, upto }) => drop(copying.insert(group, upto)),
            None if &key[..] == keys::FORMAT_KEY => {}
            None => return Err(StartError::Corrupt("meta")),
        }
    }
    let mut rows = Rows::new(keys::TOPICS);
    while let Some((key, value)) = rows.next(storage).await? {
        let id = keys::topic_of(&key).ok_or(StartError::Corrupt("topics"))?;
        let row: TopicRow = keys::decode(&value).ok_or(StartError::Corrupt("topics"))?;
        catalog.recover_topic(id, row.name, row.options, row.deleted);
    }
    let mut rows = Rows::new(keys::MARKS);
    while let Some((key, value)) = rows.next(storage).await? {
        let id = keys::topic_of(&key).ok_or(StartError::Corrupt("marks"))?;
        let (next, readable) = keys::pair(&value).ok_or(StartError::Corrupt("marks"))?;
        catalog.recover_mark(id, next, readable);
    }
    let mut effects = Vec::new();
    catalog.recovered(&mut effects);
    for log in catalog.all_open_logs().map(|log| catalog.log(log).name) {
        boots.saw(log.node, log.boot);
    }
    // What has begun to come and has no record here was never told to be here, and nobody goes on with it.
    if !begun.is_empty() {
        storage.write(begun).await?;
    }
    let undecided = recover_undecided(storage, &catalog).await?;
    Ok(Recovered { catalog, boots, effects, copying, undecided })
}

async fn recover_undecided(storage: &dyn Storage, catalog: &Catalog) -> Result<Undecided, StartError> {
    let mut undecided = Undecided::new();
    let logs = catalog.all_open_logs().map(|log| (log, catalog.log(log)));
    for (log, known) in logs.filter(|(_, known)| known.name.lane == Lane::LARGE) {
        let mut from = known.ordered();
        loop {
            let (first, end) = (keys::place(log, from), keys::place_end(log));
            let rows = storage.scan(keys::PAYLOADS, first, end, ROWS).await?;
            for (key, value) in &rows {
                let (_, seq) = keys::place_of(key).ok_or(StartError::Corrupt("payloads"))?;
                let (payload, _) = keys::payload(value).ok_or(StartError::Corrupt("payloads"))?;
                undecided.insert((log, seq), payload);
                from = seq + 1;
            }
            if rows.len() < ROWS.rows {
                break;
            }
        }
    }
    Ok(undecided)
}

async fn check_format(storage: &dyn Storage) -> Result<(), StartError> {
    let key = Bytes::from_static(keys::FORMAT_KEY);
    match storage.get(keys::META, key.clone()).await? {
        Some(value) => {
            let format =
                value[..].try_into().map(u32::from_be_bytes).map_err(|_| StartError::Corrupt("meta"))?;
            if format == keys::FORMAT { Ok(()) } else { Err(StartError::Format(format, keys::FORMAT)) }
        }
        None => {
            let mut batch = Batch::new();
            batch.put(keys::META, key, keys::FORMAT.to_be_bytes().to_vec());
            Ok(storage.write(batch).await?)
        }
    }
}

async fn recover_logs(
    storage: &dyn Storage,
    catalog: &mut Catalog,
    me: NodeId,
    boot: Boot,
) -> Result<(), StartError> {
    let mut rows = Rows::new(keys::LOGS);
    let mut expected = 0;
    while let Some((key, value)) = rows.next(storage).await? {
        let row: LogRow = keys::decode(&value).ok_or(StartError::Corrupt("logs"))?;
        let (name, no) = (row.name(), LogNo(expected));
        if key != keys::log_key(no) {
            return Err(StartError::Corrupt("logs"));
        }
        if name.node == me && name.boot.counter >= boot.counter {
            return Err(StartError::BootBehind { found: name.boot, own: boot });
        }
        expected += 1;
        if row.complete {
            catalog.recover_closed(&name);
            continue;
        }
        let (durable, ordered) = (durable_end(storage, no).await?, ordered_end(storage, no).await?);
        catalog.recover_log(name, row.predecessor, row.closed, durable, ordered);
    }
    Ok(())
}

/// By what its writes say that they had: a record itself may be unreadable or lost, and is mended when it is read.
async fn durable_end(storage: &dyn Storage, log: LogNo) -> Result<u64, StartError> {
    let last =
        storage.scan_back(keys::RUNS, keys::place(log, 0), keys::place_end(log), ScanLimit::rows(1)).await?;
    let Some((key, value)) = last.first() else { return Ok(1) };
    let (_, seq) = keys::place_of(key).ok_or(StartError::Corrupt("runs"))?;
    let runs = keys::runs(value).ok_or(StartError::Corrupt("runs"))?;
    Ok(seq + runs.iter().map(|(_, count)| count).sum::<u64>())
}

async fn ordered_end(storage: &dyn Storage, log: LogNo) -> Result<u64, StartError> {
    let last = storage
        .scan_back(keys::ORDERS, keys::place(log, 0), keys::place_end(log), ScanLimit::rows(1))
        .await?;
    let Some((key, value)) = last.first() else { return Ok(1) };
    let (_, seq) = keys::place_of(key).ok_or(StartError::Corrupt("orders"))?;
    let run = keys::order_run(value).ok_or(StartError::Corrupt("orders"))?;
    Ok(seq + run.count)
}

/// All rows of a space, page by page.
pub(crate) struct Rows {
    space: Space,
    from: Bytes,
    page: std::vec::IntoIter<(Bytes, Bytes)>,
    more: bool,
}

impl Rows {
    pub(crate) fn new(space: Space) -> Self {
        Self { space, from: Bytes::new(), page: Vec::new().into_iter(), more: true }
    }

    pub(crate) async fn next(
        &mut self,
        storage: &dyn Storage,
    ) -> Result<Option<(Bytes, Bytes)>, StorageError> {
        if self.page.len() == 0 && self.more {
            let end = Bytes::from_static(&[0xff; 32]);
            let rows = storage.scan(self.space, self.from.clone(), end, ROWS).await?;
            self.more = rows.len() == ROWS.rows;
            if let Some((last, _)) = rows.last() {
                self.from = [&last[..], &[0]].concat().into();
            }
            self.page = rows.into_iter();
        }
        Ok(self.page.next())
    }
}
