// Tells the server the reader's time zone, in which it then writes the times of pages. Nothing else stands in the cookie.
(() => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && !document.cookie.split("; ").includes(`iiot_zone=${zone}`)) {
    document.cookie = `iiot_zone=${zone}; Path=/; Max-Age=31536000; SameSite=Lax`;
  }
})();
