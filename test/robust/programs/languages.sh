# Programs that know nothing of ioasis: a shell, its tools, node, and python where there is one.
set -u
fail() { echo "$1"; exit 1; }
same() { [ "$1" = "$2" ] || fail "$3: $1"; }

exec 3<>/dev/iommu || fail "exec"
same "$(ls -l /dev/iommu 2>&1 | cut -c1-10)" crw-rw---- ls
same "$(stat -c %F /dev/iommu 2>&1)" "character special file" stat
same "$(readlink /proc/self/fd/3)" /dev/iommu readlink
test -c /dev/iommu || fail "test -c"
test -c /proc/self/fd/3 || fail "test -c of a descriptor"
test -c //dev/../dev//iommu || fail "test -c of a longer name"
same "$(find /dev/iommu)" /dev/iommu find
for reader in 'cat /dev/iommu' 'cat <&3' 'dd if=/dev/iommu count=1 status=none' 'head -c1 /dev/iommu'; do
	same "$(eval "$reader" 2>&1 | sed 's/.*: //')" "Invalid argument" "$reader"
done
same "$(dd if=/dev/zero of=/dev/iommu count=1 status=none 2>&1 | sed 's/.*: //')" "Invalid argument" "dd"
"$NODE" -e '
const fs = require("node:fs");
const fd = fs.openSync("/dev/iommu", "r+");
let code = "";
try { fs.readSync(fd, Buffer.alloc(8)); } catch (error) { code = error.code; }
const all = [code, fs.statSync("/dev/iommu").isCharacterDevice(), fs.fstatSync(fd).isCharacterDevice()];
process.exitCode = all.join() === "EINVAL,true,true" ? 0 : 1;
' || fail node
command -v python3 >/dev/null || exit 0
python3 -c '
import fcntl, multiprocessing, os, stat, struct
fd = os.open("/dev/iommu", os.O_RDWR)
def alloc():
    arg = bytearray(struct.pack("III", 12, 0, 0))
    fcntl.ioctl(fd, 0x3b81, arg)
    assert struct.unpack("III", arg)[2] > 0
alloc()
assert stat.S_ISCHR(os.fstat(fd).st_mode)
try:
    os.read(fd, 1)
    raise SystemExit(1)
except OSError as error:
    assert error.errno == 22
child = multiprocessing.Process(target=alloc)
child.start()
child.join()
assert child.exitcode == 0
' || fail python3
