const kept = [];
for (let number = 0; number < 200000; number++) kept.push({ number, text: `item ${number}`, list: [number, number / 3] });
let last = process.hrtime.bigint(), longest = 0n;
setInterval(() => {
  const now = process.hrtime.bigint();
  if (now - last > longest) longest = now - last;
  last = now;
}, 1);
process.stdin.on("data", () => { console.log(String(longest / 1000n)); longest = 0n; });
console.log("ready", kept.length);
