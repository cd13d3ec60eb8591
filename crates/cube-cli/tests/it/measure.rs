//! `cube measure` against figures that other programs computed.

use crate::{shared::evidence, tool::cube};

/// The set of figures, where it is at hand.
fn file(name: &str) -> Option<String> {
    Some(evidence("launch-measurement")?.join(name).to_str().unwrap().to_owned())
}

/// The launch of the first figures, with a kernel.
fn with_kernel() -> Option<Vec<String>> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut args = words(&["measure", "--append", "console=ttyS0", "--vcpu-type", "EPYC-v4"]);
    for (flag, name) in
        [("--ovmf", "ovmf_AmdSev_suffix.bin"), ("--kernel", "kernel.bin"), ("--initrd", "initrd.bin")]
    {
        args.extend([flag.to_owned(), file(name)?]);
    }
    Some(args)
}

/// Figure of that launch with one vCPU.
const ONE: &str =
    "deac4a46627d02b0f75c0b6bf70479cb0c9d69cae59c5ffe0b0910a7c556e43bee3e5c336cb9811ffefd2557efb42d18";

async fn run(args: &[String], more: &[&str]) -> crate::tool::Run {
    let args: Vec<&str> = args.iter().map(String::as_str).chain(more.iter().copied()).collect();
    cube(&args).await
}

#[tokio::test]
async fn every_figure_is_printed() {
    let Some(vectors) = file("vectors.json") else { return };
    let vectors: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(vectors).unwrap()).unwrap();
    for vector in vectors {
        let text = |key: &str| vector[key].as_str();
        let mut args = vec!["measure".to_owned()];
        for (flag, key) in [("--ovmf", "ovmf"), ("--kernel", "kernel"), ("--initrd", "initrd")] {
            if let Some(name) = text(key) {
                args.extend([flag.to_owned(), file(name).unwrap()]);
            }
        }
        for (flag, key) in
            [("--append", "append"), ("--vcpu-type", "vcpu_type"), ("--guest-features", "guest_features")]
        {
            args.extend(text(key).into_iter().flat_map(|value| [flag.to_owned(), value.to_owned()]));
        }
        let vcpus = vector["vcpus"].to_string();
        let vmm = text("vmm_type").unwrap().to_lowercase();
        let run = run(&args, &["--vcpus", &vcpus, "--vmm", &vmm]).await;
        assert_eq!(run.stdout, format!("{vcpus} {}\n", text("launch_digest").unwrap()), "{}", run.stderr);
        assert_eq!(run.code, 0);
    }
}

#[tokio::test]
async fn each_number_of_vcpus_has_its_line() {
    let Some(args) = with_kernel() else { return };
    let lines = run(&args, &["--vcpus", "1,2,4"]).await.stdout;
    let lines: Vec<_> = lines.lines().map(|line| line.split_once(' ').unwrap()).collect();
    assert_eq!(lines.iter().map(|(vcpus, _)| *vcpus).collect::<Vec<_>>(), ["1", "2", "4"]);
    assert_eq!(lines[0].1, ONE);
    let json = run(&args, &["--vcpus", "1,2,4", "--json"]).await.json();
    for (index, (_, measurement)) in lines.iter().enumerate() {
        assert_eq!(json["measurements"][index]["measurement"], *measurement);
    }
    assert_eq!((json["vcpu_signature"].as_str(), json["vmm"].as_str()), (Some("0x800f12"), Some("qemu")));
}

#[tokio::test]
async fn the_snippet_is_a_section_that_a_policy_takes() {
    let Some(args) = with_kernel() else { return };
    let policy = include_str!("../../../../conformance/policies/cryptographic.toml");
    let rest: Vec<_> = policy.lines().filter(|line| !line.starts_with("measurement")).collect();
    for (flag, covers) in [
        ("--policy-snippet", "covers = \"kernel-only\"\nreason = "),
        ("--policy-snippet=kernel-only", "covers = \"kernel-only\"\nreason = "),
        ("--policy-snippet=userspace", "covers = \"userspace\"\n"),
    ] {
        let snippet = run(&args, &["--vcpus", "1,2", flag]).await.stdout;
        assert!(snippet.contains(ONE) && snippet.contains(covers), "{snippet}");
        let whole = format!("{}\n{snippet}", rest.join("\n"));
        snp_evidence::Policy::parse(whole.as_bytes()).unwrap_or_else(|errors| panic!("{errors}\n{whole}"));
    }
}

#[tokio::test]
async fn what_cannot_be_measured_is_named_with_its_fix() {
    let (Some(plain), Some(args)) = (file("ovmf_OvmfX64_suffix.bin"), with_kernel()) else { return };
    let kernel = file("kernel.bin").unwrap();
    let base = ["measure", "--vcpu-type", "EPYC-v4"].map(str::to_owned).to_vec();
    let ovmf = |path: &str| [base.clone(), vec!["--ovmf".to_owned(), path.to_owned()]].concat();
    for (args, more, words) in [
        (ovmf("absent.fd"), &[] as &[&str], "cannot read absent.fd"),
        (ovmf(&kernel), &[], "kernel.bin: at offset 0x0: found an image of 212 bytes, expected whole pages"),
        (
            ovmf(&plain),
            &["--kernel", &kernel],
            "leave kernel, initrd and command line out, or use a build of OvmfPkg/AmdSev",
        ),
        (ovmf(&plain), &["--policy-snippet=userspace"], "needs --kernel"),
        (ovmf(&plain), &["--initrd", &kernel], "--kernel <FILE>"),
        (ovmf(&plain), &["--append", "x"], "--kernel <FILE>"),
        (ovmf(&plain), &["--vcpus", "0"], "0 is not in 1..=4096"),
        (ovmf(&plain), &["--vcpus", "1,,2"], "cannot parse integer"),
        (ovmf(&plain), &["--vcpu-sig", "0x1"], "cannot be used with"),
        (ovmf(&plain), &["--guest-features", "33"], "need a number such as 0x1"),
        (ovmf(&plain), &["--json", "--policy-snippet"], "cannot be used with"),
        (args, &["--vmm", "xen"], "[possible values: qemu, ec2, gce]"),
        (
            vec!["measure".to_owned(), "--ovmf".to_owned(), plain.clone()],
            &["--vcpu-type", "EPYC-v77"],
            "EPYC-Genoa-v1",
        ),
    ] {
        let run = run(&args, more).await;
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{more:?}");
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
    }
}
