//! Every bound of the system, in one place. Sizes in bytes, times in milliseconds, unless the name says otherwise.
//!
//! What a client may send stands in the public API's comments too; what only one service uses is still here, so that
//! the relations between bounds can be checked below.

use std::time::Duration;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

// What a client may send.
pub const NAME_BYTES_MAX: usize = 255;
pub const CLIENT_ID_BYTES_MAX: usize = 255;
/// The largest payload that travels inline. (Larger ones are for a later version.)
pub const PAYLOAD_INLINE_BYTES_MAX: usize = MIB;
pub const KEY_BYTES_MAX: usize = KIB;
pub const ATTRIBUTES_MAX: usize = 64;
pub const ATTRIBUTES_BYTES_MAX: usize = 16 * KIB;
pub const LABELS_MAX: usize = 64;
pub const LABELS_BYTES_MAX: usize = 16 * KIB;
pub const BATCH_MESSAGES_MAX: usize = 1_000;
pub const BATCH_BYTES_MAX: usize = 4 * MIB;
pub const POP_MESSAGES_MAX: usize = 1_000;
pub const POP_BYTES_MAX: usize = 4 * MIB;
pub const READ_MESSAGES_MAX: usize = 1_000;
pub const READ_BYTES_MAX: usize = 4 * MIB;
pub const PAGE_SIZE_MAX: usize = 1_000;
pub const TOKENS_MAX: usize = 1_000;
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);
pub const DEADLINE_MAX: Duration = Duration::from_secs(60);
/// A waiting answer leaves this long before the caller's deadline, so that it still arrives.
pub const DEADLINE_MARGIN: Duration = Duration::from_millis(100);
pub const ACK_DEADLINE_DEFAULT: Duration = Duration::from_secs(30);
pub const ACK_DEADLINE_MAX: Duration = Duration::from_secs(600);
pub const ACK_DEADLINE_MIN: Duration = Duration::from_secs(1);

// Messages between processes.
/// The largest gRPC message anyone sends or accepts: a full batch and its envelope.
pub const FRAME_BYTES_MAX: usize = 8 * MIB;
pub const STREAM_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
pub const CONNECTION_WINDOW_BYTES: u32 = 64 * 1024 * 1024;
/// Messages that wait in one stream's queue before its sender waits too.
pub const STREAM_QUEUE_MAX: usize = 64;
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);
/// No count, place or term that a peer may name reaches beyond this: it leaves room to count on without overflow.
pub const PEER_NUMBER_MAX: u64 = 1 << 48;
/// A stream that was silent for so long is given up.
pub const SILENCE_MAX: Duration = Duration::from_secs(2);
/// Names that have a short number in one direction of one stream; beyond it the next one takes the oldest one's.
pub const SHORT_NUMBERS_MAX: u32 = 1 << 16;
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

// Connections.
/// A connection that answers no HTTP/2 ping for so long is given up; together with the interval, `SILENCE_MAX`.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_millis(500);
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_millis(1_500);
/// The same, seen from a listener: it only has to get rid of dead callers, for streams have heartbeats.
pub const LISTENER_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
pub const LISTENER_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Who has connected says its first bytes within this time: only then is there anyone to ping.
pub const LISTENER_FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(10);
pub const REDIAL_FIRST: Duration = Duration::from_millis(50);
pub const REDIAL_MAX: Duration = Duration::from_secs(1);
/// Calls and streams under way on one connection.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 16_384;
pub const CONNECTIONS_PER_LISTENER_MAX: u32 = 16_384;
/// Clients' calls under way at one listener; above it they are refused, to come again after `OVERLOAD_RETRY`.
pub const CLIENT_CALLS_MAX: usize = 20_000;
pub const OVERLOAD_RETRY: Duration = Duration::from_millis(250);
/// Bytes on their way in one direction of one connection of the simulated WAN.
pub const DELAY_LINE_BYTES_MAX: usize = 64 * MIB;

// Cluster.
pub const TOPICS_PER_GROUP_MAX: usize = 1 << 20;
pub const BUCKETS_MAX: u32 = 1 << 16;

// Ordering.
/// Order time is measured in steps of so much: the entries of one step share it, and only the first carries it.
pub const ORDER_TIME_STEP: Duration = Duration::from_millis(100);
/// So many clocks outvote one that is wrong.
pub const CLOCKS_TRUSTED_MIN: usize = 3;
/// With fewer clocks, order time does not follow where they differ from elapsed time by more than this.
pub const CLOCK_JUMP_MAX: Duration = Duration::from_secs(60);
/// Order time that is held for so long is told to the operator; voters that have just started hear each other before.
pub const ORDER_TIME_HELD_TOLD_AFTER: Duration = Duration::from_secs(10);
/// Runs that one report carries for one log; the rest follows once those are ordered.
pub const REPORT_RUNS_PER_LOG_MAX: usize = 4_096;
pub const ASSIGNMENT_RUNS_MAX: usize = 16_384;
pub const ASSIGNMENTS_IN_FLIGHT_MAX: usize = 256;
/// Open origin logs of one group: a report or assignment that would open more is refused.
pub const OPEN_LOGS_PER_GROUP_MAX: usize = 1 << 20;
/// Facts (runs) that a group's state keeps for stores that were away, beyond what every replica has on disk.
pub const FACT_RUNS_KEPT: usize = 1 << 14;
/// Facts (runs) that a group's state holds at most before its leader stops ordering until stores have them on disk.
pub const FACT_RUNS_MAX: usize = 1 << 22;
/// Facts (runs) in one message to a store, at least one entry's.
pub const FACTS_MESSAGE_RUNS_MAX: usize = 4_096;
/// Bytes of the same, at least one entry's.
pub const FACTS_MESSAGE_BYTES_MAX: usize = MIB;
/// Bytes of one message that lists topics, with their labels, or that copies an index: at least one entry.
pub const PAGE_BYTES_MAX: usize = MIB;
/// Reports on their way to one group's leader, or through one relay stream; beyond it they are dropped, which the next
/// digest shows.
pub const RELAY_QUEUE_MAX: usize = 1_024;
/// A voter's word that a frame has gone from voter to voter so often that it goes no further.
pub const RELAY_HOPS_MAX: u32 = 2;
pub const HELD_INTERVAL: Duration = Duration::from_secs(1);
/// Records of one's own that are on disk in no other datacenter for so long, without progress, are an outage: fresh
/// ones may overtake them after it.
pub const OVERTAKE_AFTER: Duration = Duration::from_secs(5);
/// No second overtaking change of a bucket within this time: one outage ends in several contacts.
pub const OVERTAKE_INTERVAL: Duration = Duration::from_secs(30);

// Push.
/// Names that one push server looks up nearby at the same time.
pub const TOPIC_LOOKUPS_MAX: usize = 1_024;
/// Names that nobody nearby knows, which voters elsewhere are asked about or are to create: these may hang as long as
/// a datacenter is cut off.
pub const TOPIC_CREATIONS_MAX: usize = 1_024;

// Message store.
/// After which a push that a full disk refused may try again: someone must make room first.
pub const DISK_FULL_RETRY: Duration = Duration::from_secs(5);
/// Records whose topic is not known after so long are told to the operator: its creation may have failed.
pub const UNKNOWN_TOPIC_TOLD_AFTER: Duration = Duration::from_secs(30);
pub const APPEND_QUEUE_BYTES_MAX: usize = 64 * MIB;
pub const GROUP_COMMIT_BYTES_MAX: usize = 8 * MIB;
/// The last ten minutes of the plan's peak (723 messages of 5 kB a second), in a store that has all of it: 95 % of all
/// reads are of these.
pub const RECENT_RECORDS_BYTES_DEFAULT: usize = 2_304 * MIB;
pub const READ_WAITERS_MAX: usize = 100_000;
/// What one answer of a Reads stream carries, unless a single message is larger.
pub const READ_ANSWER_BYTES_MAX: u64 = MIB as u64;
/// Answers on their way to one pop server: beyond it a store answers that one no more until it has taken some.
pub const READS_UNDER_WAY_BYTES_MAX: u64 = 8 * MIB as u64;
/// Reads of one Reads stream that are at the disk at a time: what is fresh has the rest of its window.
pub const READS_AT_DISK_MAX: usize = 4;
/// Reads that wait until a record is fetched anew from another store. One record is, at a time.
pub const REPAIRS_WAITING_MAX: usize = 16;

// Delivery.
/// From so many handed out since its last successful commit, a dispatcher commits what it has.
pub const HANDED_OUT_COMMIT_AT: u64 = 500;
/// At so many, a Pop waits for that commit.
pub const HANDED_OUT_MAX: u64 = 1_000;
/// The most IDs between the lowest unacknowledged and the highest delivered.
pub const DELIVERY_WINDOW_MAX: u64 = 20_000;
/// A committed ID that stays unreadable here for so long is read from another store.
pub const READ_THROUGH_AFTER: Duration = Duration::from_millis(200);
pub const SUBSCRIPTIONS_PER_GROUP_MAX: usize = 1 << 20;
/// Ranges of acknowledged IDs that one subscription is remembered by.
pub const ACKNOWLEDGED_RANGES_MAX: usize = 20_000;
/// Acknowledgements wait so long for more of their kind before they are committed.
pub const COMMIT_DELAY: Duration = Duration::from_millis(200);
/// What a dispatcher reads ahead of its clients, per subscription.
pub const READ_AHEAD_MESSAGES_MAX: u64 = 1_000;
pub const READ_AHEAD_BYTES_MAX: u64 = 4 << 20;
/// What a dispatcher keeps in memory per subscription: read ahead, and delivered in case it must come again.
pub const HELD_BYTES_MAX: u64 = 8 << 20;
/// Pops and acks that wait at one subscription.
pub const WAITING_POPS_MAX: usize = 1_000;
pub const WAITING_ACKS_MAX: usize = 1_000;
/// Dispatch moves to a caller's datacenter when its own has had none of so many pops.
pub const DISPATCH_MOVES_AFTER: usize = 8;

// Storage.
/// What waits for one store's disk at most. Those who write bound themselves far below it; beyond it the disk counts
/// as failed, because refusing one batch and taking the next would leave a hole in someone's log.
pub const STORAGE_QUEUE_BYTES_MAX: usize = 1024 * MIB;

const _: () = assert!(BATCH_BYTES_MAX > PAYLOAD_INLINE_BYTES_MAX + KEY_BYTES_MAX + ATTRIBUTES_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX >= BATCH_BYTES_MAX + BATCH_MESSAGES_MAX * KIB);
const _: () = assert!(PAGE_BYTES_MAX + 2 * (LABELS_BYTES_MAX + LABELS_MAX * KIB) < FRAME_BYTES_MAX);
// Facts of one entry, at most two log names and a run for each of its runs, still fit.
const _: () = assert!(FACTS_MESSAGE_BYTES_MAX + ASSIGNMENT_RUNS_MAX * 256 < FRAME_BYTES_MAX);
const _: () = assert!(POP_BYTES_MAX + PAYLOAD_INLINE_BYTES_MAX < FRAME_BYTES_MAX);
// One in two of a window and of what an earlier dispatcher handed out beyond it may be acknowledged.
const _: () = assert!(ACKNOWLEDGED_RANGES_MAX as u64 > (DELIVERY_WINDOW_MAX + 2 * HANDED_OUT_MAX) / 2);
const _: () = assert!(READ_ANSWER_BYTES_MAX * READS_AT_DISK_MAX as u64 * 2 <= READS_UNDER_WAY_BYTES_MAX);
const _: () = assert!(RECENT_RECORDS_BYTES_DEFAULT >= 600 * 723 * (5_000 + 300));
// So that it is the window that a slow reader runs into, and no other stream's answers wait behind its own.
const _: () = assert!(READS_UNDER_WAY_BYTES_MAX < STREAM_WINDOW_BYTES as u64);
const _: () = assert!(READ_AHEAD_BYTES_MAX < HELD_BYTES_MAX);
const _: () = assert!(HANDED_OUT_COMMIT_AT < HANDED_OUT_MAX && HANDED_OUT_MAX < DELIVERY_WINDOW_MAX);
const _: () = assert!(HEARTBEAT_INTERVAL.as_millis() * 3 < SILENCE_MAX.as_millis());
const _: () =
    assert!(KEEPALIVE_INTERVAL.as_millis() + KEEPALIVE_TIMEOUT.as_millis() <= SILENCE_MAX.as_millis());
const _: () = assert!((FRAME_BYTES_MAX as u64) < STREAM_WINDOW_BYTES as u64);
const _: () = assert!(STREAM_WINDOW_BYTES < CONNECTION_WINDOW_BYTES);
const _: () = assert!(APPEND_QUEUE_BYTES_MAX * 4 <= STORAGE_QUEUE_BYTES_MAX);
