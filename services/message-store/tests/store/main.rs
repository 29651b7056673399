//! The message store as a whole: real stores on a simulated network and simulated disks, ordered by a stand-in for the
//! Message ID service.

mod cluster;
mod orderer;

mod catch_up;
mod one_datacenter;
mod reading;
mod routes;
mod three_datacenters;
