//! Object storage: moto's S3 server, a program of its own.

use std::time::Duration;

use windlass_archive::{ArchiveError, LogName, S3, S3Config, Selector};
use windlass_model::Secret;

use crate::lab::{Lab, assert_same, name, troublesome};
use crate::moto::Moto;
use crate::official_client::partners;

pub(crate) fn config(url: &str) -> S3Config {
    S3Config {
        endpoint: url.to_owned(),
        bucket: "logs".to_owned(),
        prefix: "windlass/ci".to_owned(),
        region: "eu-central-1".to_owned(),
        virtual_host: false,
        key_id: "AKIATEST".to_owned(),
        secret: Secret::new("s3cret-key"),
        session_token: None,
        ca_pem: None,
        timeout: Duration::from_secs(10),
        pause: Duration::from_millis(2),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_kept_once_found_and_removed() {
    let moto = Moto::start(partners()).await;
    let s3 = S3::new(config(&moto.url)).unwrap();
    let lab = Lab::new();
    for (build, (kind, log)) in troublesome().into_iter().enumerate() {
        let (dir, meta) = lab.sealed(kind, &log);
        let of = name("demo", build as i64 + 1, 0);
        let written = s3.write(&of, &dir).await.unwrap();
        assert_eq!(written.meta, meta);
        s3.verify(&of, &meta.sha256).await.unwrap();
        assert_eq!(s3.write(&of, &dir).await.unwrap(), written, "{kind}");
        let everywhere = Selector {
            instance: None,
            attempt: None,
            step: None,
            ..of.selector()
        };
        assert_eq!(
            s3.find(&everywhere).await.unwrap(),
            std::slice::from_ref(&of)
        );
        let into = lab.path(&format!("{kind}-back"));
        s3.restore(&of, &into).await.unwrap();
        assert_same(0, &dir, &into);
        let other = s3.verify(&of, &"0".repeat(64)).await.unwrap_err();
        assert!(matches!(other, ArchiveError::Differs { .. }), "{other:?}");
    }

    // The same log in another build is the same objects.
    let (dir, meta) = lab.sealed("twice", &b"the same\n".repeat(20_000));
    let (first, second) = (name("demo", 100, 0), name("demo", 101, 0));
    let objects = s3.write(&first, &dir).await.unwrap().objects;
    assert_eq!(s3.write(&second, &dir).await.unwrap().objects, objects);
    // The one goes, and its objects stay for the other.
    s3.remove(&first, &[]).await.unwrap();
    let gone = s3.verify(&first, &meta.sha256).await.unwrap_err();
    assert!(matches!(gone, ArchiveError::Missing { .. }), "{gone:?}");
    s3.verify(&second, &meta.sha256).await.unwrap();
    s3.remove(&second, &objects).await.unwrap();
    assert!(s3.find(&second.selector()).await.unwrap().is_empty());
    // Removing what is gone is no mistake.
    s3.remove(&second, &objects).await.unwrap();

    // An object that is lost is noticed, told, and written again.
    let objects = s3.write(&first, &dir).await.unwrap().objects;
    s3.remove(
        &LogName {
            step: 9,
            ..first.clone()
        },
        &objects[..1],
    )
    .await
    .unwrap();
    let lost = s3.verify(&first, &meta.sha256).await.unwrap_err();
    assert!(matches!(lost, ArchiveError::Missing { .. }), "{lost:?}");
    s3.write(&first, &dir).await.unwrap();
    s3.verify(&first, &meta.sha256).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_is_an_outage_and_nothing_secret_is_told() {
    let moto = Moto::start(partners()).await;
    let lab = Lab::new();
    let (dir, _) = lab.sealed("log", b"hello\n");
    let mut missing = config(&moto.url);
    missing.bucket = "elsewhere".to_owned();
    let s3 = S3::new(missing).unwrap();
    let away = s3.write(&name("demo", 1, 0), &dir).await.unwrap_err();
    assert!(matches!(away, ArchiveError::Outage { .. }), "{away:?}");
    assert!(away.to_string().contains("NoSuchBucket"), "{away}");
    drop(moto);
    // Nobody listens there any more.
    let away = s3.write(&name("demo", 1, 0), &dir).await.unwrap_err();
    assert!(matches!(away, ArchiveError::Outage { .. }), "{away:?}");
    for secret in ["Signature", "s3cret", "AKIATEST"] {
        assert!(!format!("{away} {away:?} {s3:?}").contains(secret));
    }
    for (wrong, change) in [
        (
            "endpoint",
            Box::new(|c: &mut S3Config| c.endpoint = "s3".into()) as Box<dyn Fn(&mut _)>,
        ),
        (
            "user",
            Box::new(|c: &mut S3Config| c.endpoint = "http://a:b@s3".into()),
        ),
        (
            "bucket",
            Box::new(|c: &mut S3Config| c.bucket = "../x".into()),
        ),
        (
            "prefix",
            Box::new(|c: &mut S3Config| c.prefix = "a/../b".into()),
        ),
    ] {
        let mut config = config("http://127.0.0.1:9");
        change(&mut config);
        assert!(S3::new(config).is_err(), "a wrong {wrong} was accepted");
    }
}
