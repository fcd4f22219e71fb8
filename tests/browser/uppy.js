// What a page with Uppy does; the tests bundle it with the two packages.
import Uppy from "@uppy/core";
import AwsS3 from "@uppy/aws-s3";

// Upload files straight to the bucket; gives what was stored, or why it was not.
export async function upload(files, { sign, confirm }) {
  const uppy = new Uppy();
  uppy.use(AwsS3, {
    shouldUseMultipart: false,
    // So that the request to be signed says which file it is for.
    generateObjectKey: (file) => file.id,
    signRequest: ({ key }) => sign(uppy.getFile(key)),
  });
  const confirmed = [];
  uppy.on("upload-success", (file, { body }) => {
    confirmed.push(confirm(body.key, file.name).then(
      ({ files: [stored] }) => stored,
      (error) => ({ name: file.name, problem: error.problem }),
    ));
  });
  for (const file of files) uppy.addFile({ name: file.name, type: file.type, data: file });
  const { failed } = await uppy.upload();
  const refused = failed.map(({ name, error }) => ({ name, error }));
  uppy.destroy();
  return { stored: await Promise.all(confirmed), refused };
}
