# A host at work, for $1 seconds: builds, a repository, scripts, and the small tools that shells call.
end=$((SECONDS + $1)) here=$(mktemp -d) n=0
cd "$here" || exit 1
export HOME=$here GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git init -q repo 2>/dev/null
while [ $SECONDS -lt $end ]; do
    n=$((n + 1))
    printf 'int f%d(int x) { return x * %d; }\nint main(void) { return f%d(0); }\n' $n $n $n >unit$n.c
    gcc -O1 -o unit$n unit$n.c && ./unit$n
    (cd repo && cp ../unit$n.c . && git add unit$n.c && git commit -qm "change $n" && git log --oneline | head -3 >/dev/null)
    python3 -c "import json, subprocess; subprocess.run(['id', '-u']); print(json.dumps({'n': $n}))" >/dev/null
    perl -e "print join(q(,), map { \$_ * $n } 1 .. 10)" >/dev/null
    for file in /usr/share/doc/b*/copyright; do
        sum=$(sha256sum "$file" | cut -d' ' -f1) name=$(basename "$(dirname "$file")")
        echo "$name $(grep -c the "$file") $sum" >>list
        [ $((RANDOM % 3)) = 0 ] && sort -u list | tail -n 5 | sed "s/$name/x/" >/dev/null
    done
    find /usr/lib/python3 -maxdepth 2 -name '*.py' | head -20 | xargs -n 4 wc -l >/dev/null
    tar cf - repo | gzip -1 | wc -c >/dev/null
    date -u +%FT%TZ >>log
    rm -f unit$n unit$n.c
    sleep 0.0$((RANDOM % 10))
done
