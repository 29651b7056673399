//! The real transport, tonic and HTTP/2, over simulated byte pipes: deadlines, keepalive, half-open connections, flow
//! control. Each scenario runs under some seeds, together a few hundred, each twice: same seed, same bytes.

mod bed;
mod calls;
mod cancelled;
mod classes;
mod drained;
mod half_open;
mod services;
mod silence;
mod slow_link;
mod slow_reader;
