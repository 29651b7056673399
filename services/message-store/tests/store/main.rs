//! The message store as a whole: real stores on a simulated network and simulated disks, ordered by a stand-in for the
//! Message ID service.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small numbers")]

mod cluster;
mod orderer;
mod reader;

mod catch_up;
mod chaos;
mod copies;
mod identity;
mod load;
mod one_datacenter;
mod patience;
mod peers;
mod reading;
mod reads;
mod repair;
mod routes;
mod three_datacenters;
mod times;
mod traces;
