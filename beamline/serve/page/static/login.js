// Send the key in the body of a request, never in an address.
const problem = document.getElementById("problem");

document.getElementById("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  problem.textContent = "";
  try {
    const answer = await fetch("/login", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ key: document.getElementById("key").value }),
    });
    if (answer.ok) {
      location.replace("/");
      return;
    }
    problem.textContent = (await answer.json()).detail;
  } catch {
    problem.textContent = "The service does not answer.";
  }
});
