"""Command lines as the launchers make them, shortened in the middle."""

from __future__ import annotations

import time

import pytest

from kvmtop.host.vm_names import names_of

UUID = "4450a55c-1669-da0e-d0bd-3ab45fef0398"
SANDBOX = "39083257ece670d208aa2010c1d25d74490942858af1854c99c6f95c33b9d8d6"


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["qemu-system-x86_64", "-m", "1G", "-name", "web01"], "web01"),
        (["qemu-system-x86_64", "-name", "web01", "-m", "1G"], "web01"),
        (["kvm", "-id", "100", "-name", "web01,debug-threads=on"], "web01"),  # Proxmox
        (["qemu-system-x86_64", "--name", "web01"], "web01"),
        (["/usr/bin/qemu-system-x86_64", "-name", "guest=web01,debug-threads=on", "-S"], "web01"),  # libvirt
        (["/usr/libexec/qemu-kvm", "-name", "guest=default_fedora,debug-threads=on"], "default_fedora"),  # KubeVirt
        (["qemu", "-name", "debug-threads=on,guest=web01"], "web01"),
        (["qemu", "-name", "process=p,guest=a=b"], "a=b"),
        (["qemu", "-name", "a,,b"], "a,b"),
        (["qemu", "-name", "guest=a,,b,,c,debug-threads=on"], "a,b,c"),
        (["qemu", "-name", "guest=a,,,debug-threads=on"], "a,"),
        (["qemu", "-name", "guest=,,a"], ",a"),
        (["qemu", "-name", "guest=two words"], "two words"),
        (["firecracker", "--api-sock", "/run/fc.sock", "--id", "anon-1"], "anon-1"),
        (["firecracker", "--id=anon-1", "--start-time-us", "12"], "anon-1"),
        (["cloud-hypervisor", "--api-socket", "path=/tmp/x.sock"], "x"),
        (["cloud-hypervisor", "--api-socket", "/run/vm/x.sock", "--cpus", "boot=2"], "x"),
        (["cloud-hypervisor", "--api-socket=path=/tmp/x.sock"], "x"),
        (["crosvm", "run", "--name", "web01", "--cpus", "2"], "web01"),
        (["crosvm", "run", "--name=web01"], "web01"),
        (["lkvm", "run", "--name", "x", "-k", "bzImage"], "x"),
    ],
)
def test_the_name(argv: list[str], name: str) -> None:
    assert names_of(argv)[0] == name


@pytest.mark.parametrize(
    "argv",
    [
        [],
        [""],
        ["qemu-system-x86_64", "-m", "1G"],
        ["qemu", "-name", "debug-threads=on"],
        ["qemu", "-device", "virtio,name=x"],
        ["cloud-hypervisor", "--api-socket", "fd=3"],
    ],
)
def test_no_name(argv: list[str]) -> None:
    assert names_of(argv) == []


@pytest.mark.parametrize(
    "argv", [["qemu", "-name"], ["qemu", "-name", ""], ["firecracker", "--id"], ["cloud-hypervisor", "--api-socket"]]
)
def test_a_name_that_is_missing(argv: list[str]) -> None:
    assert names_of(argv) == []


LIBVIRT = (
    "/usr/bin/qemu-system-x86_64 -name guest={name},debug-threads=on -S -object"
    ' {{"qom-type":"secret","id":"masterKey0","format":"raw","file":"{lib}/domain-1-{name}/master-key.aes"}}'
    " -machine pc-q35-8.2,usb=off,dump-guest-core=off,memory-backend=pc.ram -accel kvm -cpu host,migratable=on -m"
    " size=4194304k -smp 2,sockets=2,cores=1,threads=1 -uuid " + UUID + " -display none -no-user-config -nodefaults"
    " -chardev socket,id=charmonitor,fd=28,server=on,wait=off -mon chardev=charmonitor,id=monitor,mode=control -rtc"
    " base=utc,driftfix=slew -no-shutdown -boot strict=on"
)


@pytest.mark.parametrize(
    ("command", "names"),
    [
        pytest.param(LIBVIRT.format(name="web01", lib="/var/lib/libvirt/qemu"), ["web01", UUID], id="libvirt"),
        pytest.param(
            LIBVIRT.format(name="instance-0000002a", lib="/var/lib/libvirt/qemu"),
            ["instance-0000002a", UUID],
            id="OpenStack",
        ),
        pytest.param(
            LIBVIRT.format(name="fedora40-wor", lib="/home/u/.config/libvirt/qemu/lib"),
            ["fedora40-wor", UUID],
            id="GNOME Boxes",
        ),
        pytest.param(
            LIBVIRT.format(name="default_vmi-ephemeral", lib="/var/run/kubevirt-private/libvirt/qemu/lib"),
            ["default_vmi-ephemeral", "default/vmi-ephemeral", "vmi-ephemeral", UUID],
            id="KubeVirt",
        ),
        pytest.param(LIBVIRT.format(name="web_01", lib="/var/lib/libvirt/qemu"), ["web_01", UUID], id="no KubeVirt"),
        pytest.param(
            "/usr/bin/kvm -id 100 -name web01,debug-threads=on -no-shutdown -chardev"
            " socket,id=qmp,path=/var/run/qemu-server/100.qmp,server=on,wait=off -mon chardev=qmp,mode=control"
            f" -pidfile /var/run/qemu-server/100.pid -daemonize -smbios type=1,uuid={UUID} -smp 4,sockets=1",
            ["web01", "100"],
            id="Proxmox",
        ),
        pytest.param(
            "/usr/bin/kvm -id 100 -chardev socket,id=qmp,path=/var/run/qemu-server/100.qmp,server,nowait",
            ["100"],
            id="Proxmox 2",
        ),
        pytest.param(
            f"/opt/incus/bin/qemu-system-x86_64 -S -name web01 -uuid {UUID} -daemonize -cpu host -nographic"
            " -serial chardev:console -nodefaults -no-user-config -sandbox on,obsolete=deny -readconfig"
            " /run/incus/shop_web01/qemu.conf -spice unix=on,disable-ticketing=on -pidfile"
            " /run/incus/shop_web01/qemu.pid -D /var/log/incus/shop_web01/qemu.log",
            ["web01", "shop_web01", UUID],
            id="Incus",
        ),
        pytest.param(
            f"/snap/lxd/19222/bin/qemu-system-x86_64 -S -name cgroup2 -uuid {UUID} -daemonize -pidfile"
            " /var/snap/lxd/common/lxd/logs/cgroup2/qemu.pid -smbios"
            " type=2,manufacturer=Canonical Ltd.,product=LXD -runas lxd",
            ["cgroup2", UUID],
            id="LXD",
        ),
        pytest.param(
            "/snap/multipass/3387/usr/bin/qemu-system-x86_64 --enable-kvm -device virtio-scsi-pci,id=scsi0"
            " -drive file=/var/snap/multipass/common/data/multipassd/vault/instances/relay/ubuntu-18.04-server"
            "-cloudimg-amd64.img,if=none,format=qcow2,discard=unmap,id=hda -smp 2 -m 4096M -qmp stdio",
            ["relay"],
            id="Multipass",
        ),
        pytest.param(
            f"/opt/kata/bin/qemu-system-x86_64 -name sandbox-{SANDBOX},debug-threads=on -uuid {UUID} -machine"
            f" q35,accel=kvm,nvdimm=on -qmp unix:/run/vc/vm/{SANDBOX}/qmp.sock,server=on,wait=off",
            ["39083257ece67", SANDBOX, UUID],
            id="Kata with QEMU",
        ),
        pytest.param(
            "/opt/kata/bin/qemu-system-x86_64 -name sandbox-hello -kernel"
            " /opt/kata/share/kata-containers/vmlinux-6.12.28-153",
            ["hello"],
            id="Kata with Rust",
        ),
        pytest.param(
            f"/opt/kata/bin/cloud-hypervisor --api-socket /run/vc/vm/{SANDBOX}/clh-api.sock -v",
            ["39083257ece67", SANDBOX],
            id="Kata with Cloud Hypervisor",
        ),
        pytest.param(
            f"/opt/kata/bin/firecracker --api-sock /run/vc/firecracker/{SANDBOX[:32]}/root/run/firecracker.sock"
            " --config-file /run/fcConfig.json",
            [SANDBOX[:32]],
            id="Kata with Firecracker",
        ),
        pytest.param("qemu-system-x86_64 -name sandbox-web -m 1G", ["sandbox-web"], id="no Kata"),
        pytest.param(
            "/firecracker --id anon-1 --start-time-us 83412 --start-time-cpu-us 1280 --parent-cpu-time-us 4375"
            " --api-sock /run/firecracker.socket",
            ["anon-1"],
            id="jailer",
        ),
        pytest.param(
            "/usr/bin/cloud-hypervisor --api-socket fd=27 --event-monitor"
            " path=/run/libvirt/ch/web01-event-monitor-fifo",
            ["web01"],
            id="libvirt with Cloud Hypervisor",
        ),
        pytest.param(
            "cloud-hypervisor --kernel vmlinux --api-socket=/run/web.01.sock --cpus boot=4",
            ["web.01"],
            id="Cloud Hypervisor",
        ),
        pytest.param(
            "/apex/com.android.virt/bin/crosvm --extended-status run --disable-sandbox --name microdroid --cpus 2",
            ["microdroid"],
            id="crosvm",
        ),
        pytest.param(
            "/home/u/Android/Sdk/emulator/qemu/linux-x86_64/qemu-system-x86_64 -avd Pixel_8_API_34 -no-window",
            ["Pixel_8_API_34"],
            id="Android emulator",
        ),
        pytest.param(
            "/opt/android-sdk/emulator/qemu/linux-x86_64/qemu-system-x86_64-headless -gpu off @Pixel_8",
            ["Pixel_8"],
            id="Android emulator with @",
        ),
        pytest.param(
            "lkvm run --name web01 -m 512 -c 2 -d rootfs,ro --console virtio -k bzImage -p console=hvc0",
            ["web01"],
            id="kvmtool",
        ),
        pytest.param(
            "qemu-system-x86_64 -name ubuntu-24.04,process=ubuntu-24.04 -machine q35,smm=off",
            ["ubuntu-24.04"],
            id="quickemu",
        ),
    ],
)
def test_launchers(command: str, names: list[str]) -> None:
    assert names_of(command.split(" ")) == names


@pytest.mark.parametrize("text", ["/", "/lxd/", "a.", ",", "=", "@", "path=/", "/run/vc/vm/", "/vault/instances/"])
@pytest.mark.parametrize(
    "option", ["-name", "--api-socket", "--event-monitor", "-pidfile", "-drive", "--api-sock", "-avd", "-uuid"]
)
def test_a_long_value_takes_no_time(option: str, text: str) -> None:
    start = time.process_time()
    names_of(["qemu", option, text * (1 << 17)])
    assert time.process_time() - start < 1
