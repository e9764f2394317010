//! Properties of a request and of its gateway, by both hosts' rules.
//!
//! | | Kong | Envoy |
//! | --- | --- | --- |
//! | `source.address` | the IP | IP and port, IPv6 in brackets |
//! | `source.port` | text | 8 bytes, little-endian |
//! | `response.code` | text | 8 bytes, little-endian |
//! | properties that a filter sets | `kong.ctx.shared.NAME`, which every filter and plugin of the request reads | any name; it can be read back only if it is a single segment |
//! | outside a request | anything with a dot fails | not found |

use wasmtime::{Caller, Linker};

use crate::abi::{Answer, Guest, Status, host_call};
use crate::rules::{Rule, RuleBroken};
use crate::stream::Stream;
use crate::world::World;

/// The only prefix under which Kong lets a filter write any property.
const KONG_SHARED: &str = "kong.ctx.shared.";
/// Kong's own properties that can be written.
const KONG_WRITABLE: &[&str] =
    &["kong.response.status", "kong.service.target", "kong.service.upstream", "kong.service.request.scheme"];
/// The prefix of what filters set in Envoy.
const ENVOY_SET: &str = "wasm\0";

fn get_property(guest: &mut Guest<'_>, path: (u32, u32), to: (u32, u32)) -> Answer {
    let path = guest.text(path.0, path.1)?;
    let stream = guest.world().active.stream.clone();
    let value = match (&stream, guest.is_kong()) {
        (Some(stream), true) => {
            let node = guest.world().common.number;
            of_kong(&stream.borrow(), node, &path.replace('\0', "."))
        }
        (Some(stream), false) => of_envoy(&stream.borrow(), &path),
        (None, true) if path.contains(['\0', '.']) => {
            guest.world().log("error", "cannot get scoped properties outside of a request");
            return Ok(Status::InternalFailure);
        }
        (None, true) if path == "plugin_name" => {
            return Err(RuleBroken::new(Rule::PluginNameInRoot, "asked for plugin_name in a root context"));
        }
        (None, true) => None,
        (None, false) => of_envoy_root(&path),
    };
    let Some(value) = value else { return Ok(Status::NotFound) };
    guest.give(&value, to.0, to.1)?;
    Ok(Status::Ok)
}

/// A property of Kong's, by its dotted path.
fn of_kong(stream: &Stream, node: u64, path: &str) -> Option<Vec<u8>> {
    if let Some(value) = stream.properties.get(path) {
        return Some(value.clone());
    }
    let text = |value: &str| Some(value.as_bytes().to_vec());
    match path {
        "source.address" | "ngx.remote_addr" => text(&stream.peer.ip().to_string()),
        "source.port" | "ngx.remote_port" => text(&stream.peer.port().to_string()),
        // The machine's name, whichever host the client asked for.
        "request.host" => text("kong"),
        "request.path" => Some(stream.target.clone()),
        "request.url_path" => Some(stream.path.split(|byte| *byte == b'?').next()?.to_vec()),
        "request.method" => Some(stream.method.clone()),
        "request.scheme" => text("http"),
        "response.code" => text(&stream.response.as_ref()?.status.to_string()),
        "plugin_name" => text("tollgate"),
        "kong.client.protocol" => text("http"),
        "kong.node.id" => text(&format!("6a2b3c4d-0000-4000-8000-{:012}", node)),
        "kong.version" => text("3.9.1"),
        "kong.route_id" => text("6a2b3c4d-0000-4000-8000-00000000000a"),
        "kong.route_name" => text("identify"),
        "kong.service_id" => text("6a2b3c4d-0000-4000-8000-00000000000b"),
        "kong.service_name" => text("fingerprint-api"),
        "kong.router.route" => text(r#"{"name":"identify"}"#),
        _ => Some(stream.request.get(path.strip_prefix("request.headers.")?.as_bytes())?.to_vec()),
    }
}

/// A property of Envoy's, by its path with NULs between the segments.
fn of_envoy(stream: &Stream, path: &str) -> Option<Vec<u8>> {
    if !path.contains('\0')
        && let Some(value) = stream.properties.get(&format!("{ENVOY_SET}{path}"))
    {
        return Some(value.clone());
    }
    let path = path.replace('\0', ".");
    if let Some(value) = stream.properties.get(&path) {
        return Some(value.clone());
    }
    let text = |value: &str| Some(value.as_bytes().to_vec());
    match path.as_str() {
        "source.address" => text(&stream.peer.to_string()),
        "source.port" => Some(u64::from(stream.peer.port()).to_le_bytes().to_vec()),
        "request.host" => Some(stream.authority.clone()),
        "request.path" => Some(stream.path.clone()),
        "request.url_path" => Some(stream.path.split(|byte| *byte == b'?').next()?.to_vec()),
        "request.method" => Some(stream.method.clone()),
        "request.scheme" => text("http"),
        "response.code" => Some(u64::from(stream.response.as_ref()?.status).to_le_bytes().to_vec()),
        "xds.route_name" => text("identify"),
        _ => match path.strip_prefix("request.headers.") {
            Some(name) => Some(stream.request.get(name.as_bytes())?.to_vec()),
            None => of_envoy_root(&path),
        },
    }
}

/// Properties that Envoy has outside requests, too.
fn of_envoy_root(path: &str) -> Option<Vec<u8>> {
    match path {
        "plugin_name" | "plugin_root_id" | "plugin_vm_id" => Some(b"tollgate".to_vec()),
        _ => None,
    }
}

fn set_property(guest: &mut Guest<'_>, path: (u32, u32), value: (u32, u32)) -> Answer {
    let path = guest.text(path.0, path.1)?;
    let value = guest.optional_bytes(value.0, value.1)?;
    let stream = guest.world().active.stream.clone();
    if !guest.is_kong() {
        let Some(stream) = stream else { return Ok(Status::NotFound) };
        stream.borrow_mut().properties.insert(format!("{ENVOY_SET}{path}"), value.unwrap_or_default());
        return Ok(Status::Ok);
    }
    let path = path.replace('\0', ".");
    let Some(stream) = stream else {
        guest.world().log("error", "cannot set scoped properties outside of a request");
        return Ok(Status::InternalFailure);
    };
    if path.len() > KONG_SHARED.len() && path.starts_with(KONG_SHARED) {
        let properties = &mut stream.borrow_mut().properties;
        match value {
            Some(value) => properties.insert(path, value),
            None => properties.remove(&path),
        };
    } else if !KONG_WRITABLE.contains(&path.as_str()) {
        return Err(RuleBroken::new(Rule::ForeignProperty, format!("set the property {path:?}")));
    }
    Ok(Status::Ok)
}

/// Envoy's own functions. One declares that a property lives as long as the client's request, so that it is still there when
/// Envoy restarts the request. This host restarts none; real Envoys do.
fn call_foreign(guest: &mut Guest<'_>, name: (u32, u32)) -> Answer {
    let name = guest.text(name.0, name.1)?;
    Ok(if name == "declare_property" { Status::Ok } else { Status::NotFound })
}

/// Links Envoy's own functions.
pub fn link_foreign(linker: &mut Linker<World>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_call_foreign_function",
        |caller: Caller<'_, World>, name: u32, len: u32, _: u32, _: u32, _: u32, _: u32| {
            host_call(caller, "proxy_call_foreign_function", |guest| call_foreign(guest, (name, len)))
        },
    )?;
    Ok(())
}

/// Links the host calls.
pub fn link(linker: &mut Linker<World>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_property",
        |caller: Caller<'_, World>, path: u32, path_len: u32, to: u32, len_to: u32| {
            host_call(caller, "proxy_get_property", |guest| {
                get_property(guest, (path, path_len), (to, len_to))
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_property",
        |caller: Caller<'_, World>, path: u32, path_len: u32, value: u32, value_len: u32| {
            host_call(caller, "proxy_set_property", |guest| {
                set_property(guest, (path, path_len), (value, value_len))
            })
        },
    )?;
    Ok(())
}
