//! What `trunkline dev` says once it runs.

use std::fmt::Write as _;

use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use trunkline_types::DatacenterName;

use super::layout::Layout;

/// A table of endpoints and what to try next.
pub(super) fn welcome(layout: &Layout, waiting: &[String]) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header([
        "datacenter",
        "clients (gRPC)",
        "admin (HTTP, gRPC)",
    ]);
    for datacenter in layout.datacenters() {
        table.add_row([datacenter.0.clone(), layout.clients(&datacenter), layout.admin(&datacenter)]);
    }
    let mut text = String::new();
    let _ = writeln!(
        text,
        "Trunkline runs: three datacenters, wan {}, data in {}.",
        layout.distance,
        layout.data.display()
    );
    let _ = writeln!(text, "{table}\n");
    for node in waiting {
        let _ =
            writeln!(text, "{node} is new and waits for its place: trunkline nodes replace {node} {node}");
    }
    let endpoints = if layout.base_port == super::BASE_PORT { String::new() } else { export(layout) };
    let _ = write!(
        text,
        "Try, in another terminal:\n{endpoints}  \
         trunkline subscribe orders billing\n  \
         trunkline push orders 'hello, world' --ack ordered\n  \
         trunkline pop orders billing\n  \
         trunkline status\n  \
         trunkline cut sea        (and: trunkline heal sea)\n\
         Stop with Ctrl-C; what was pushed is there again at the next start.\n"
    );
    text
}

/// For clients that would look at the default ports.
fn export(layout: &Layout) -> String {
    let endpoint = |datacenter: DatacenterName| format!("{datacenter}={}", layout.clients(&datacenter));
    let endpoints: Vec<String> = layout.datacenters().map(endpoint).collect();
    let admin: Vec<String> = layout.datacenters().map(|datacenter| layout.admin(&datacenter)).collect();
    format!("  export TRUNKLINE_ENDPOINTS={} TRUNKLINE_ADMIN={}\n", endpoints.join(","), admin.join(","))
}
