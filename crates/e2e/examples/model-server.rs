//! The scripted model server by itself, where a test has no other: every chat is answered with `Hello from the fake.`
//!
//! Argument: the address.

use std::error::Error;

use e2e::fake_backend::FakeBackend;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("name the address")?;
    let _server = FakeBackend::start_on(address.parse()?).await?;
    std::future::pending().await
}
