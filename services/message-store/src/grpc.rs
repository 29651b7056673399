//! What a store answers. Decodes, checks, asks the worker or the disk, encodes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use trunkline_ports::{Host, Receiver, Responder, Router, Storage};
use trunkline_types::limits::{CONNECT_TIMEOUT, HEARTBEAT_INTERVAL, SILENCE_MAX};
use trunkline_types::{LogName, checksum};
use trunkline_wire::Status;
use trunkline_wire::convert::number;
use trunkline_wire::internal::{
    AppendRecord, AppendRequest, AppendResponse, Appended, FetchRecordRequest, FetchRecordResponse,
    ReadRequest, ReadResponse, ResolveRequest, ResolveResponse, StoreFindTimeRequest, StoreFindTimeResponse,
    StoreFindTopicRequest, StoreFindTopicResponse, appended, follow_service, store_service,
};
use trunkline_wire::status;

use crate::follow_stream::silent;
use crate::handle::{Handle, Input, Location, ReadAnswer};
use crate::outlet::Inlet;
use crate::repair::Repairs;
use crate::{cold, convert, copy_index, follow_stream, read_stream, repair, times};

const RETRY_AFTER: Duration = Duration::from_millis(250);

/// What every handler needs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Doors {
    pub(crate) host: Host,
    pub(crate) handle: Handle,
    pub(crate) storage: Arc<dyn Storage>,
    /// Reads that may go to disk at the same time.
    pub(crate) cold_reads: Arc<Semaphore>,
    pub(crate) repairs: Repairs,
}

pub(crate) fn router(doors: &Doors) -> Router {
    let (append, read, resolve, find) = (doors.clone(), doors.clone(), doors.clone(), doors.clone());
    let (reads, follow, copy, fetch) = (doors.clone(), doors.clone(), doors.clone(), doors.clone());
    let times = doors.clone();
    Router::new()
        .streaming(store_service::APPEND, move |_, requests, responses| {
            append.clone().append(requests, responses)
        })
        .streaming(store_service::READS, move |_, requests, responses| {
            read_stream::serve(reads.clone(), requests, responses)
        })
        .unary(store_service::READ, move |_, request| read.clone().read(request))
        .unary(store_service::RESOLVE, move |_, request| resolve.clone().resolve(request))
        .unary(store_service::FIND_TOPIC, move |_, request| find.clone().find_topic(request))
        .unary(store_service::FIND_TIME, move |_, request| times.clone().find_time(request))
        .streaming(follow_service::FOLLOW, move |_, requests, responses| {
            follow_stream::serve(follow.host.clone(), follow.handle.clone(), requests, responses)
        })
        .unary(follow_service::FETCH_RECORD, move |_, request| fetch.clone().fetch_record(request))
        .streaming(follow_service::COPY_INDEX, move |_, mut requests: Receiver<_>, responses| {
            let doors = copy.clone();
            async move {
                let request = timeout(CONNECT_TIMEOUT, requests.next()).await.map_err(|_| silent())??;
                let request = request.ok_or_else(silent)?;
                copy_index::serve(doors.host, doors.handle, doors.storage, request, responses).await
            }
        })
}

impl Doors {
    async fn append(
        self,
        mut requests: Receiver<AppendRequest>,
        responses: Responder<AppendResponse>,
    ) -> Result<(), Status> {
        let first =
            timeout(CONNECT_TIMEOUT, requests.next()).await.map_err(|_| silent())??.ok_or_else(silent)?;
        self.host.check(first.hello.as_ref())?;
        let welcome = AppendResponse { hello: Some(self.host.envelope()), results: Vec::new() };
        answer(&responses, &welcome).await?;
        let (outlet, mut inlet) = self.handle.outlet();
        let stream = self.handle.stream();
        self.handle.tell(Input::AppendUp { stream, outlet }).await?;
        tokio::select! {
            biased;
            ended = self.take_appends(stream, first.records, &mut requests, &responses) => ended,
            ended = answers(&mut inlet, &responses) => ended,
        }
    }

    async fn take_appends(
        &self,
        stream: u64,
        first: Vec<AppendRecord>,
        requests: &mut Receiver<AppendRequest>,
        responses: &Responder<AppendResponse>,
    ) -> Result<(), Status> {
        let mut records = first;
        loop {
            if !records.is_empty() {
                self.take_records(stream, records, responses).await?;
            }
            match requests.next().await? {
                Some(request) => records = request.records,
                None => return Ok(()),
            }
        }
    }

    /// Admission, before the queue: what is refused here was neither written nor sent.
    async fn take_records(
        &self,
        stream: u64,
        mut records: Vec<AppendRecord>,
        responses: &Responder<AppendResponse>,
    ) -> Result<(), Status> {
        let mut refused = Vec::new();
        records.retain(|append| {
            let sound =
                append.record.as_ref().is_some_and(|record| checksum(&record.body) == record.checksum);
            if !sound {
                refused
                    .push(refusal(append.tag, &status::invalid("record.checksum", "does not fit the body")));
            }
            sound
        });
        let bytes =
            records.iter().filter_map(|append| append.record.as_ref()).map(|r| r.body.len() + 64).sum();
        let permit = if self.storage.has_room() {
            self.handle
                .append_room(bytes)
                .ok_or_else(|| status::overloaded("the store is behind", RETRY_AFTER))
        } else {
            Err(disk_full())
        };
        match permit {
            Ok(permit) if !records.is_empty() => {
                self.handle.tell(Input::Append { stream, records, permit }).await?;
            }
            Ok(_) => {}
            Err(status) => refused.extend(records.iter().map(|append| refusal(append.tag, &status))),
        }
        if refused.is_empty() {
            return Ok(());
        }
        answer(responses, &AppendResponse { hello: None, results: refused }).await
    }

    async fn read(self, request: ReadRequest) -> Result<ReadResponse, Status> {
        self.host.check(request.envelope.as_ref())?;
        if request.from == 0 {
            return Err(status::invalid("from", "must be at least 1"));
        }
        let answer = self.handle.ask(|reply| Input::Read { request, reply }).await?;
        self.found(&request, answer).await
    }

    /// The worker's answer, with what has to come from disk.
    pub(crate) async fn found(
        &self,
        request: &ReadRequest,
        answer: ReadAnswer,
    ) -> Result<ReadResponse, Status> {
        match answer {
            ReadAnswer::Ready(response) => Ok(response),
            ReadAnswer::Cold { watermark, indexed, runs } => {
                let _turn = self.turn().await?;
                cold::read(&*self.storage, &self.repairs, request, watermark, indexed, runs).await
            }
        }
    }

    async fn find_time(self, request: StoreFindTimeRequest) -> Result<StoreFindTimeResponse, Status> {
        self.host.check(request.envelope.as_ref())?;
        let _turn = self.turn().await?;
        times::find(&*self.storage, &self.handle, &request).await
    }

    /// To read from disk.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, Status> {
        self.cold_reads.acquire().await.map_err(|_| Status::unavailable("the store is ending"))
    }

    async fn resolve(self, request: ResolveRequest) -> Result<ResolveResponse, Status> {
        self.host.check(request.envelope.as_ref())?;
        let log = convert::log_name(request.log)?;
        match self.locate(log).await? {
            Some(location) => cold::resolve(&*self.storage, &request, location).await,
            None => Ok(ResolveResponse::default()),
        }
    }

    async fn locate(&self, log: LogName) -> Result<Option<Location>, Status> {
        match self.handle.ask(|reply| Input::Locate { log, reply }).await? {
            Some(location) => Ok(Some(location)),
            None => cold::locate_closed(&*self.storage, &log).await,
        }
    }

    /// What is not sound here is not answered, and not repaired for another's sake.
    async fn fetch_record(self, request: FetchRecordRequest) -> Result<FetchRecordResponse, Status> {
        self.host.check(request.envelope.as_ref())?;
        let (log, seq) = (convert::log_name(request.log)?, number(request.sequence, "sequence")?);
        let location = self.locate(log).await?.filter(|location| seq < location.durable);
        let record = match location {
            Some(location) => repair::on_disk(&*self.storage, location.log, seq).await,
            None => None,
        };
        Ok(FetchRecordResponse { record })
    }

    async fn find_topic(self, request: StoreFindTopicRequest) -> Result<StoreFindTopicResponse, Status> {
        self.host.check(request.envelope.as_ref())?;
        let found = self.handle.ask(|reply| Input::FindTopic { name: request.name, reply }).await?;
        Ok(found.map_or_else(StoreFindTopicResponse::default, |(id, options)| StoreFindTopicResponse {
            found: true,
            topic_id: id.0,
            options: options.into(),
        }))
    }
}

fn refusal(tag: u64, refused: &Status) -> Appended {
    let refused = status::to_message(&status::not_stored(refused));
    Appended { tag, what: Some(appended::What::Refused(refused)) }
}

fn disk_full() -> Status {
    status::disk_full("the disk is below its reserve")
}

/// Answers as the worker has them; silence is filled.
async fn answers(
    inlet: &mut Inlet<AppendResponse>,
    responses: &Responder<AppendResponse>,
) -> Result<(), Status> {
    loop {
        match timeout(HEARTBEAT_INTERVAL, inlet.next()).await {
            Ok(Some(response)) => answer(responses, &response).await?,
            Ok(None) => return Err(Status::unavailable("the answers were not read")),
            Err(_) => answer(responses, &AppendResponse::default()).await?,
        }
    }
}

async fn answer(responses: &Responder<AppendResponse>, response: &AppendResponse) -> Result<(), Status> {
    let sent = timeout(SILENCE_MAX, responses.send(response)).await.map_err(|_| silent())?;
    sent.map_err(|_| Status::unavailable("the stream is closed"))
}
