//! A component for WASI 0.3 that reaches for what no service gets: files, sockets, names, other hosts. The response says what came of
//! it, one line each.

include!("../../component.rs");

component!(Outside, {
    path: "../plain-p3/wit",
    inline: "package test:outside; world outside {
        include wasi:http/service@0.3.0;
        import wasi:cli/environment@0.3.0;
        import wasi:filesystem/types@0.3.0;
        import wasi:filesystem/preopens@0.3.0;
        import wasi:sockets/types@0.3.0;
        import wasi:sockets/ip-name-lookup@0.3.0;
    }",
    world: "test:outside/outside",
    generate_all,
});

use bindings::wasi::cli::environment;
use bindings::wasi::filesystem::preopens::get_directories;
use bindings::wasi::http::client;
use bindings::wasi::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use bindings::wasi::sockets::ip_name_lookup::resolve_addresses;
use bindings::wasi::sockets::types::{IpAddressFamily, TcpSocket, UdpSocket};

struct Outside;

impl bindings::exports::wasi::http::handler::Guest for Outside {
    async fn handle(_: Request) -> Result<Response, ErrorCode> {
        let (_, trailers) = bindings::wit_future::new(|| Ok(None));
        let (request, _) = Request::new(Fields::new(), None, trailers, None);
        let set = request.set_scheme(Some(&Scheme::Https)).and(request.set_authority(Some("api.example")));
        let set = set.and(request.set_path_with_query(Some("/")));
        let sent = client::send(request).await.map(|response| response.get_status_code());
        let lines = [
            format!("folders {}", get_directories().len()),
            format!("tcp {:?}", TcpSocket::create(IpAddressFamily::Ipv4).map(|_| ())),
            format!("udp {:?}", UdpSocket::create(IpAddressFamily::Ipv6).map(|_| ())),
            format!("lookup {:?}", resolve_addresses("localhost".to_owned()).await),
            format!("request {set:?} {sent:?}"),
            format!("environment {}", environment::get_environment().len() + environment::get_arguments().len()),
        ];
        let (mut body, contents) = bindings::wit_stream::new();
        let (trailers_sent, trailers) = bindings::wit_future::new(|| Ok(None));
        let (response, _) = Response::new(Fields::new(), Some(contents), trailers);
        wit_bindgen::spawn_local(async move {
            body.write_all(lines.join("\n").into_bytes()).await;
            drop(body);
            let _ = trailers_sent.write(Ok(None)).await;
        });
        Ok(response)
    }
}
