use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use super::*;

/// A server that sends back what comes.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..read]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn asked(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(bytes)?;
    let mut answer = vec![0; bytes.len()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

#[test]
fn bytes_come_through_late_when_slow_and_not_at_all_when_stalled() {
    let proxy = Proxy::before(echo()).expect("a proxy");
    let mut stream = TcpStream::connect(proxy.address()).expect("connected");
    assert_eq!(asked(&mut stream, b"well").expect("an answer"), b"well");
    proxy.set(Network::Slow {
        bytes_per_s: 10_000,
        late: Duration::from_millis(20),
    });
    let since = std::time::Instant::now();
    let long = vec![7; 2_000];
    assert_eq!(asked(&mut stream, &long).expect("an answer"), long);
    // 2,000 bytes at 10,000 a second, and two ways.
    assert!(
        since.elapsed() >= Duration::from_millis(200),
        "{:?}",
        since.elapsed()
    );

    proxy.set(Network::Stalled);
    let before = proxy.carried();
    stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("set");
    asked(&mut stream, b"dead").expect_err("nothing comes back");
    assert_eq!(proxy.carried(), before);
    let mut other = TcpStream::connect(proxy.address()).expect("it accepts all the same");
    other
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("set");
    asked(&mut other, b"dead").expect_err("nothing comes back");

    proxy.set(Network::Well);
    stream.set_read_timeout(None).expect("set");
    let mut late = [0; 4];
    stream.read_exact(&mut late).expect("what was held is carried");
    assert_eq!(&late, b"dead");
}
